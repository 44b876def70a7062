import { once } from 'node:events'
import { connect } from 'node:net'
import type { Socket } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import type { Torrent, Wire } from 'webtorrent'
import { steadyClock } from '../../../services/clock.ts'
import { chokeAll, unchokeInterested, serveThrough } from '../../../services/swarm/internals/uploads.ts'
import type { WireTaker } from '../../../services/swarm/internals/uploads.ts'
import { UploadQueue } from '../../../services/swarm/upload-queue.ts'
import { makeTorrent, testBytes, until } from '../../testnet.ts'
import { startSeed } from './webtorrent-seed.ts'

/** The private calls of internals/uploads.ts, with a real WebTorrent that peers take from. */

const content = testBytes(640_000, 'uploads')
const film = await makeTorrent({ 'film.mkv': content }, { pieceLength: 131_072 })
const pieceBytes = 131_072
/** So that 512 different requests fit into a piece. */
const askedBytes = pieceBytes - 512
const signal = (): AbortSignal => AbortSignal.timeout(20_000)
const messages = { choke: 0, unchoke: 1, interested: 2, request: 6, piece: 7, cancel: 8, reject: 16 } as const

interface Peer {
  readonly socket: Socket
  readonly wire: Wire
  say (type: number, ...numbers: number[]): void
  /** Begins to read; each message as its type and its numbers. */
  read (): { type: number, numbers: number[], bytes: number }[]
}

/** Somebody who speaks BitTorrent by hand, with the fast extension (BEP 6), and reads when told to. */
async function startPeer (t: Test, torrent: Torrent, address: string): Promise<Peer> {
  const [host = '', port = ''] = address.split(':')
  const socket = connect({ host, port: Number(port) })
  t.teardown(() => { socket.destroy() })
  socket.pause()
  const wired = once(torrent, 'wire', { signal: signal() })
  const reserved = Buffer.alloc(8)
  reserved[7] = 4
  socket.write(Buffer.concat([Buffer.from('\x13BitTorrent protocol'), reserved, Buffer.from(film.infohash, 'hex'), Buffer.alloc(20, 'p')]))
  const [wire]: Wire[] = await wired
  if (wire === undefined) throw new Error('no wire')
  return {
    socket,
    wire,
    say: (type, ...numbers) => {
      const message = Buffer.alloc(5 + 4 * numbers.length)
      message.writeUInt32BE(1 + 4 * numbers.length)
      message[4] = type
      for (const [i, number] of numbers.entries()) message.writeUInt32BE(number, 5 + 4 * i)
      socket.write(message)
    },
    read: () => {
      const heard: { type: number, numbers: number[], bytes: number }[] = []
      let unread = Buffer.alloc(0)
      let isGreeted = false
      socket.on('data', (bytes: Buffer) => {
        unread = Buffer.concat([unread, bytes])
        if (!isGreeted && unread.length < 68) return
        if (!isGreeted) unread = unread.subarray(68)
        isGreeted = true
        while (unread.length >= 4 && unread.length >= 4 + unread.readUInt32BE()) {
          const length = unread.readUInt32BE()
          const message = unread.subarray(4, 4 + length)
          unread = unread.subarray(4 + length)
          const numbers = Array.from({ length: Math.min(3, Math.floor((length - 1) / 4)) }, (_, i) => message.readUInt32BE(1 + 4 * i))
          if (length > 0) heard.push({ type: message[0] ?? 0, numbers, bytes: length })
        }
      })
      socket.resume()
      return heard
    }
  }
}

async function startGiver (t: Test, limitBytes: number, mayUnchoke = (): boolean => true): Promise<{ torrent: Torrent, join: () => Promise<Peer> }> {
  const { torrent, address } = await startSeed(t, film, { utp: false })
  const queue = new UploadQueue<WireTaker>(steadyClock, limitBytes)
  torrent.on('wire', (wire: Wire) => { serveThrough(torrent, wire, queue, mayUnchoke) })
  return { torrent, join: async () => await startPeer(t, torrent, address) }
}

t.test('a peer that asks for 64 MiB and reads nothing takes hardly any memory; once it reads it gets everything', async (t) => {
  const { join } = await startGiver(t, -1)
  const { wire, say, read } = await join()
  say(messages.interested)
  await until('it may ask', () => !wire.amChoking)
  for (let i = 0; i < 512; i++) say(messages.request, i % 4, i, askedBytes)
  let given = 0
  let most = 0
  wire.on('upload', (bytes: number) => {
    given += bytes
    most = Math.max(most, wire._readableState.buffered + wire.peerRequests.length * askedBytes)
  })
  let before = -1
  await until('the network takes no more', () => {
    const isStill = given === before && given > 0
    before = given
    return isStill
  })
  t.ok(given < 512 * askedBytes, `${given} bytes were given`)
  t.ok(most < 12 * pieceBytes, `${most} bytes were in memory`)
  const heard = read()
  await until('all is there', () => heard.filter(({ type }) => type === messages.piece).length === 512)
  t.ok(most < 12 * pieceBytes, `${most} bytes were in memory`)
})

t.test('what waits for its turn is rejected when the peer is choked, and forgotten when it is taken back', async (t) => {
  const { torrent, join } = await startGiver(t, 1_000)
  const { wire, say, read } = await join()
  const heard = read()
  say(messages.interested)
  await until('it may ask', () => !wire.amChoking)
  for (const offset of [0, 16_384, 32_768]) say(messages.request, 1, offset, 16_384)
  say(messages.cancel, 1, 16_384, 16_384)
  await until('the limit lets one block out', () => heard.some(({ type }) => type === messages.piece))
  chokeAll(torrent)
  await until('it is choked', () => heard.some(({ type }) => type === messages.reject))
  t.same(heard.filter(({ type }) => type === messages.reject).map(({ numbers }) => numbers), [[1, 32_768, 16_384]])
  say(messages.request, 1, 0, 16_384)
  await until('who asks all the same is refused', () => heard.filter(({ type }) => type === messages.reject).length === 2)
})

t.test('nobody may ask where nothing is to be given; once it is, those who are interested may at once', async (t) => {
  let isGiving = false
  const { torrent, join } = await startGiver(t, -1, () => isGiving)
  const { wire, say } = await join()
  const interested = once(wire, 'interested', { signal: signal() })
  say(messages.interested)
  await interested
  torrent._rechoke()
  t.ok(wire.amChoking)
  isGiving = true
  unchokeInterested(torrent)
  t.notOk(wire.amChoking)
})

t.test('a piece that is not there is rejected, and holds nothing else up', async (t) => {
  const { torrent, join } = await startGiver(t, -1)
  const { wire, say, read } = await join()
  const heard = read()
  say(messages.interested)
  await until('it may ask', () => !wire.amChoking)
  torrent._markUnverified(2)
  for (let i = 0; i < 20; i++) say(messages.request, 2, i * 16, 16)
  say(messages.request, 3, 0, 16_384)
  await until('the other one comes', () => heard.some(({ type }) => type === messages.piece))
  t.equal(heard.filter(({ type }) => type === messages.reject).length, 20)
})
