import { once } from 'node:events'
import { connect } from 'node:net'
import type { Test } from 'tap'
import type { ClientOptions, Torrent, Wire } from 'webtorrent'
import type { TestTorrent } from '../../testnet.ts'
import { startClient } from './webtorrent-seed.ts'

/**
 * How a peer behaves that says it has everything. `wrong`: each block it sends is wrong; `one block`: the third of each
 * piece, or the last one; `now and then`: one in eight, by chance; `refuses`: rejects what it is asked for; `stalls`: lets one in and never
 * answers; `forgets`: the first seven requests; `drops`: ends each connection at once.
 */
export type Behaviour = 'honest' | 'wrong' | 'one block' | 'now and then' | 'refuses' | 'stalls' | 'forgets' | 'drops'

export interface BadPeer {
  /** `ip:port`, any address of loopback. */
  readonly address: string
  readonly behaviour: Behaviour
  /** 40 hex digits. */
  readonly peerId: string
  readonly torrent: Torrent
  /** Connections up to the handshake, and blocks that it was asked for. */
  readonly counts: { wires: number, requests: number, lies: number }
}

const blockBytes = 16_384

/** A WebTorrent in this process that behaves so. It never dials anybody. `random`: below the number it is given. */
export async function startBadPeer (t: Test, content: TestTorrent, behaviour: Behaviour, { ip = '127.0.0.1', random = () => 0, ...options }: ClientOptions & { ip?: string, random?: (below: number) => number } = {}): Promise<BadPeer> {
  const counts = { wires: 0, requests: 0, lies: 0 }
  const bytes = Buffer.concat(content.files.map((file) => file.bytes))
  const { pieceLength } = content.metadata
  class Store {
    readonly chunkLength = pieceLength
    get (index: number, { offset = 0, length = pieceLength }: { offset?: number, length?: number }, done: (error: Error | null, block?: Buffer) => void): void {
      counts.requests++
      if (behaviour === 'stalls' || (behaviour === 'forgets' && counts.requests <= 7)) return
      if (behaviour === 'refuses') {
        setImmediate(done, new Error('no'))
        return
      }
      const start = index * pieceLength + offset
      const block = Buffer.from(bytes.subarray(start, start + length))
      const third = Math.min(2, Math.ceil(Math.min(pieceLength, bytes.length - index * pieceLength) / blockBytes) - 1)
      if (behaviour === 'wrong' || (behaviour === 'one block' && offset / blockBytes === third) || (behaviour === 'now and then' && random(8) === 0)) {
        const at = random(block.length)
        block.writeUInt8(block.readUInt8(at) ^ 1, at)
        counts.lies++
      }
      // Not in the same turn: no disk answers so fast.
      setImmediate(done, null, block)
    }

    put (_index: number, _bytes: Buffer, done: (error: null) => void): void { done(null) }
    close (done: (error: null) => void): void { done(null) }
    destroy (done: (error: null) => void): void { done(null) }
  }
  const client = await startClient(t, { utp: false, ...options })
  const torrent = client.add(content.torrent, { store: Store, skipVerify: true, storeCacheSlots: 0 })
  torrent.on('error', (error: Error) => { t.fail(error.message) })
  torrent.on('wire', (wire: Wire) => {
    counts.wires++
    if (behaviour === 'drops') wire.destroy()
  })
  if (!torrent.ready) await once(torrent, 'ready', { signal: AbortSignal.timeout(20_000) })
  return { address: `${ip}:${client.torrentPort}`, behaviour, peerId: client.peerId, torrent, counts }
}

/** Connects from this address with this peer id: does the server speak with it? */
export async function knock (t: Test, { infohash }: TestTorrent, port: number, localAddress: string, peerId: string): Promise<'closed' | 'welcome'> {
  const socket = connect({ port, host: '127.0.0.1', localAddress })
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  const handshake = Buffer.concat([Buffer.from('\x13BitTorrent protocol'), Buffer.alloc(8), Buffer.from(infohash, 'hex'), Buffer.from(peerId, 'hex')])
  socket.write(handshake)
  let received = 0
  return await new Promise(resolve => {
    socket.on('data', (bytes) => {
      received += bytes.length
      // More than its own handshake: the pieces that it has.
      if (received <= handshake.length) return
      resolve('welcome')
      socket.destroy()
    })
    socket.on('close', () => { resolve('closed') })
  })
}
