import { createHash } from 'node:crypto'
import { EventEmitter, once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import type WebTorrent from 'webtorrent'
import type { ClientOptions, Peer, Torrent, Wire } from 'webtorrent'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import { ChunkStore } from '../../../services/swarm/chunk-store.ts'
import { askFor } from '../../../services/swarm/internals/asking.ts'
import { askedFor, judgeBlocks, releaseRequests } from '../../../services/swarm/internals/blocks.ts'
import { dialAgain, dialPlainToo, dialTcpBesideUtp, dropPeers, guardIncoming, guardPeers, guardRedials, keepIncomingPeers, peerCounts, takeOverRedials } from '../../../services/swarm/internals/connections.ts'
import { dhtNodes, dhtState, greetNodes, guardDht, tameLocalDiscovery } from '../../../services/swarm/internals/discovery.ts'
import { holdMetadata, onInfo } from '../../../services/swarm/internals/metadata.ts'
import { cancelUnwanted, dropHeld, heldBytes, markDropped, markFilled } from '../../../services/swarm/internals/pieces.ts'
import { Picking } from '../../../services/swarm/picking.ts'
import { makeTorrent, startDht, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'
import { startBadPeer } from './bad-peer.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'
import type { Seed } from './webtorrent-seed.ts'

/** A test for each private call into WebTorrent, between two real clients: an upgrade shows here what it broke. */

const signal = (): AbortSignal => AbortSignal.timeout(20_000)

interface Leech {
  readonly client: WebTorrent
  readonly torrent: Torrent
  /** Gives it its metadata, and waits until it is ready. */
  release (bitfield?: Uint8Array): Promise<void>
  readonly reads: number[]
  /** Wants exactly these pieces, in this order. */
  want (...pieces: readonly number[]): void
}

async function startLeech (t: Test, content: TestTorrent, options: ClientOptions = {}): Promise<Leech> {
  const edgeDirectory = await temporaryDirectory(t)
  const client = await startClient(t, options)
  const geometry = new Geometry(content.metadata)
  // Everything is unwanted here, so that each piece goes to a file of its own.
  const files = new PieceFiles(geometry, { version: 1, edgeDirectory, files: [] }, () => false)
  const reads: number[] = []
  class CountingStore extends ChunkStore {
    override get (...args: Parameters<ChunkStore['get']>): void {
      reads.push(args[0])
      super.get(...args)
    }
  }
  const torrent = client.add(`magnet:?xt=urn:btih:${content.infohash}`, {
    deselect: true,
    store: CountingStore,
    storeCacheSlots: 0,
    storeOpts: { openShelf: () => ({ geometry, files, onWritten () {}, onBlocked (piece: number, error: unknown) { t.fail(`piece ${piece}: ${String(error)}`) } }) }
  })
  torrent.on('error', (error: Error) => { t.fail(error.message) })
  const picking = new Picking(torrent)
  torrent.on('wire', (wire: Wire) => { picking.onWire(wire) })
  t.teardown(() => { picking.close() })
  const open = holdMetadata(torrent, content.infohash)
  await once(torrent, 'infoHash', { signal: signal() })
  return {
    client,
    torrent,
    reads,
    want: (...pieces) => { picking.choose({ pieces, waiting: [] }, () => true) },
    async release (bitfield = new Uint8Array(Math.ceil(geometry.pieceCount / 8))) {
      const ready = once(torrent, 'ready', { signal: signal() })
      await open(content.torrent, bitfield)
      await ready
    }
  }
}

async function connected (leech: Leech, seed: Seed): Promise<Wire> {
  leech.torrent.addPeer(seed.address)
  const [wire] = await once(leech.torrent, 'wire', { signal: signal() })
  return wire
}

async function verified (torrent: Torrent, count: number): Promise<number[]> {
  const pieces: number[] = []
  await new Promise<void>((resolve, reject) => {
    AbortSignal.timeout(20_000).addEventListener('abort', () => { reject(new Error(`verified ${pieces.join()} in vain`)) })
    torrent.on('verified', (piece: number) => {
      pieces.push(piece)
      if (pieces.length === count) resolve()
    })
  })
  return pieces
}

const film = await makeTorrent({ 'film.mkv': testBytes(640_000, 'film') }, { pieceLength: 65_536 })
const slow = { utp: false, uploadLimit: 32_768 }

t.test('a peer that has only TCP is connected within a second or two', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const leech = await startLeech(t, film)
  if (!leech.client.utp) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  dialTcpBesideUtp(leech.client, () => 500)
  const startedAt = performance.now()
  const wire = await connected(leech, seed)
  t.ok(performance.now() - startedAt < 3_000, `after ${Math.round(performance.now() - startedAt)} ms`)
  await leech.release()
  leech.want(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
  t.same((await verified(leech.torrent, 10)).length, 10, 'and delivers')
  const closed = once(wire, 'close', { signal: signal() })
  wire.destroy()
  await closed
  await once(leech.torrent, 'wire', { signal: signal() })
  t.pass('a lost connection is dialled again')
})

t.test('a peer that has uTP is connected by uTP', async (t) => {
  const seed = await startSeed(t, film)
  const leech = await startLeech(t, film)
  if (!leech.client.utp) return t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
  dialTcpBesideUtp(leech.client, () => 500)
  await connected(leech, seed)
  const [peer] = seed.torrent._peers?.values() ?? []
  t.match(peer, { type: 'utpIncoming' })
})

t.test('an incoming connection outlives our own failed dial to the same address', async (t) => {
  const { torrent } = await startLeech(t, film, { utp: false })
  keepIncomingPeers(torrent)
  const address = '127.0.0.1:9'
  torrent.addPeer(address)
  t.ok(torrent._peers?.has(address), 'our dial')
  let isDestroyed = false
  const incoming = Object.assign(new EventEmitter(), { id: address, addr: address, connected: true, conn: null, wire: null, destroy: () => { isDestroyed = true } }) satisfies Peer
  torrent._addIncomingPeer(incoming)
  t.equal(torrent._peers?.get(incoming.id), incoming)
  await until('the dial has failed', () => torrent._peers?.has(address) === false)
  t.notOk(isDestroyed)
  t.equal(torrent._peers?.get(incoming.id), incoming)
})

t.test('metadata from peers is kept back until it is released; the peers stay, nothing is hashed', async (t) => {
  const seed = await startSeed(t, film)
  const leech = await startLeech(t, film)
  const wire = await connected(leech, seed)
  await new Promise<void>(resolve => { onInfo(wire, () => { resolve() }) })
  t.notOk(leech.torrent.ready)
  await leech.release(Buffer.from([0b0100_0000, 0]))
  t.equal(leech.torrent.wires[0], wire)
  t.ok(leech.torrent.bitfield.get(1), 'the bitfield is the one it was given')
  t.notOk(leech.torrent.bitfield.get(0))
  t.same(leech.reads, [])
  leech.want(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
  t.notOk((await verified(leech.torrent, 9)).includes(1), 'what it has is not fetched')
})

t.test('an info dictionary with unsorted keys keeps the infohash that was asked for', async (t) => {
  // `piece length` and `pieces` before `length` and `name`: not canonical (BEP 3), and out there.
  const { metadata } = film
  const rest = Buffer.concat([metadata.hashOf(0), Buffer.from('6:lengthi65536e4:name1:xe')])
  const info = Buffer.concat([Buffer.from('d12:piece lengthi65536e6:pieces20:'), rest])
  const bytes = Buffer.concat([Buffer.from('d4:info'), info, Buffer.from('e')])
  const infohash = createHash('sha1').update(info).digest('hex')
  const client = await startClient(t)
  const torrent = client.add(`magnet:?xt=urn:btih:${infohash}`, { deselect: true, store: ChunkStore, storeCacheSlots: 0, storeOpts: { openShelf: () => ({ files: { async close () {} } }) } })
  const release = holdMetadata(torrent, infohash)
  await once(torrent, 'infoHash')
  await release(bytes, new Uint8Array(1))
  t.ok(torrent.ready)
  t.equal(torrent.infoHash, infohash)
})

t.test('the raw info dictionary is what comes from a peer', async (t) => {
  const seed = await startSeed(t, film)
  const leech = await startLeech(t, film)
  const wire = await connected(leech, seed)
  const info = await new Promise<Uint8Array>(resolve => { onInfo(wire, resolve) })
  t.ok(film.torrent.includes(Buffer.from(info)), 'byte for byte the one in the .torrent')
})

t.test('pieces are fetched in the order of the selection, whatever their place in the torrent', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const leech = await startLeech(t, film, { utp: false })
  const asked: number[] = []
  seed.torrent.on('wire', (wire: Wire) => { wire.on('request', (piece: number) => { if (asked.at(-1) !== piece) asked.push(piece) }) })
  await connected(leech, seed)
  const done = verified(leech.torrent, 7)
  leech.want(7, 8, 3, 0, 1, 4, 5)
  await leech.release()
  await done
  t.same(asked, [7, 8, 3, 0, 1, 4, 5])
})

t.test('a new peer is asked for the most urgent piece at once', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const leech = await startLeech(t, film, { utp: false })
  const first = new Promise<number>(resolve => {
    seed.torrent.on('wire', (wire: Wire) => { wire.once('request', resolve) })
  })
  await connected(leech, seed)
  leech.want(2, 0, 1, 3, 4, 5, 6, 7, 8, 9)
  await leech.release()
  t.equal(await first, 2)
})

t.test('a piece that somebody else filled: peers are told, what was asked of them is cancelled', async (t) => {
  const seed = await startSeed(t, film, slow)
  const leech = await startLeech(t, film, { utp: false })
  const [wire] = await Promise.all([connected(leech, seed), leech.release()])
  const theirs = await until('they are connected too', () => seed.torrent.wires[0])
  leech.want(3)
  await until('blocks are asked for', () => wire.requests.length > 0)
  const have = once(theirs, 'have', { signal: signal() })
  markFilled(leech.torrent, 3)
  markFilled(leech.torrent, 3)
  t.same(wire.requests, [])
  t.ok(leech.torrent.bitfield.get(3))
  t.same(await have, [3])
})

t.test('all pieces filled by others -> done', async (t) => {
  const leech = await startLeech(t, film)
  await leech.release()
  const done = once(leech.torrent, 'done', { signal: signal() })
  for (let piece = 0; piece < 10; piece++) markFilled(leech.torrent, piece)
  await done
})

t.test('a piece that is gone: peers are told, and it is fetched again', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const leech = await startLeech(t, film, { utp: false })
  await Promise.all([connected(leech, seed), leech.release()])
  leech.want(3)
  await verified(leech.torrent, 1)
  const theirs = await until('they are connected too', () => seed.torrent.wires[0])
  await until('they know that we have it', () => theirs.peerPieces.get(3))
  markDropped(leech.torrent, 3)
  t.notOk(leech.torrent.bitfield.get(3))
  await until('they know that we lost it', () => !theirs.peerPieces.get(3))
  leech.want(3)
  t.same(await verified(leech.torrent, 1), [3])
})

t.test('what nobody wants any more is cancelled', async (t) => {
  const seed = await startSeed(t, film, slow)
  const leech = await startLeech(t, film, { utp: false })
  const [wire] = await Promise.all([connected(leech, seed), leech.release()])
  leech.want(3)
  await until('blocks are asked for', () => wire.requests.length > 0)
  leech.want(5)
  cancelUnwanted(leech.torrent, (piece) => piece === 5)
  t.same(wire.requests, [])
  await until('the wanted piece is asked for', () => wire.requests.some(({ piece }) => piece === 5))
})

t.test('blocks of pieces that nobody wants are counted, and can be dropped', async (t) => {
  const seed = await startSeed(t, film, slow)
  const leech = await startLeech(t, film, { utp: false })
  const [wire] = await Promise.all([connected(leech, seed), leech.release()])
  leech.want(3)
  await once(wire, 'download', { signal: signal() })
  leech.want()
  t.ok(heldBytes(leech.torrent, () => false) >= 16_384)
  t.equal(heldBytes(leech.torrent, (piece) => piece === 3), 0)
  dropHeld(leech.torrent, (piece) => piece === 3)
  t.ok(heldBytes(leech.torrent, () => false) >= 16_384, 'what is kept stays')
  dropHeld(leech.torrent, () => false)
  t.equal(heldBytes(leech.torrent, () => false), 0)
  t.same(wire.requests, [])
  const piece = leech.torrent.pieces[3]
  t.equal(piece?.missing, 65_536, 'it can be fetched from its start')
  t.equal(piece?.reserve(), 0)
})

t.test('peers are counted', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const leech = await startLeech(t, film, { utp: false })
  t.same(peerCounts(leech.torrent), { connected: 0, connecting: 0 })
  leech.torrent.addPeer(seed.address)
  t.same(peerCounts(leech.torrent), { connected: 0, connecting: 1 })
  await once(leech.torrent, 'wire', { signal: signal() })
  t.same(peerCounts(leech.torrent), { connected: 1, connecting: 0 })
})

t.test('local discovery: no crash, no error, no peers of other torrents', async (t) => {
  // Not a real one: it would send to the local network.
  const lsd = Object.assign(new EventEmitter(), {
    _parseAnnounce (announce: string): unknown {
      if (!announce.includes('Host: ')) throw new TypeError('Cannot read properties of undefined')
      return announce
    }
  })
  const discovery = Object.assign(new EventEmitter(), { lsd })
  const peers: unknown[] = []
  const torrent = {
    infoHash: film.infohash,
    discovery: null as typeof discovery | null,
    _startDiscovery () {
      if (this.discovery !== null) return
      this.discovery = discovery
      lsd.on('error', () => { t.fail('the torrent would be destroyed') })
      lsd.on('peer', (address: unknown) => { peers.push(address) })
    }
  }
  const real = await startLeech(t, film)
  t.type(real.torrent._startDiscovery, 'function')
  tameLocalDiscovery(torrent as unknown as Torrent)
  torrent._startDiscovery()
  torrent._startDiscovery()
  lsd.emit('error', new Error('ENETUNREACH'))
  t.equal(lsd._parseAnnounce('BT-SEARCH * HTTP/1.1'), null)
  t.equal(lsd._parseAnnounce('Host: x'), 'Host: x')
  lsd.emit('peer', '192.0.2.1:1', '0'.repeat(40))
  lsd.emit('peer', '192.0.2.2:2', film.infohash.toUpperCase())
  t.same(peers, ['192.0.2.2:2'])
})

t.test('nodes of the DHT are counted', async (t) => {
  const { bootstrap } = await startDht(t, 3)
  const client = await startClient(t, { dht: { bootstrap } })
  await until('the nodes are known', () => dhtNodes(client) === 3)
  t.equal(dhtNodes(await startClient(t)), 0, 'none without a DHT')
})

t.test('peers that may not be dialled are not, whoever names them', async (t) => {
  const client = await startClient(t)
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`)
  const asked: Array<string | undefined> = []
  guardPeers(torrent, (address, source) => {
    asked.push(source)
    return address.endsWith('2')
  })
  await once(torrent, 'infoHash', { signal: signal() })
  t.equal(torrent.addPeer('127.0.0.1:1111', 'dht'), false)
  t.equal(torrent.addPeer('127.0.0.1:2222', 'operator'), true)
  await until('discovery runs', () => torrent.discovery)
  for (const source of ['tracker', 'lsd']) torrent.discovery?.emit('peer', '127.0.0.1:3331', source)
  t.same(asked, ['dht', 'operator', 'tracker', 'lsd'])
  t.same([...torrent._peers?.keys() ?? []], ['127.0.0.1:2222'])
})

t.test('nodes of the DHT that may not be asked are not, and searches end all the same', async (t) => {
  const { bootstrap } = await startDht(t, 3)
  const client = await startClient(t, { dht: { bootstrap: false } })
  const [allowed = '', refused = ''] = bootstrap
  guardDht(client, (address) => address === allowed)
  const { dht } = client
  if (!dht) throw new Error('no DHT')
  for (const address of [refused, allowed]) {
    const [host = '', port] = address.split(':')
    dht.addNode({ host, port: Number(port) })
  }
  await until('the allowed one answered', () => dhtNodes(client) === 1)
  await new Promise<void>((resolve) => { dht.lookup(film.infohash, () => { resolve() }) })
  t.equal(dhtNodes(client), 1)
})

t.test('who sent which block is known, of a piece that is right and of one that is wrong', async (t) => {
  const liar = await startBadPeer(t, film, 'one block')
  const honest = await startBadPeer(t, film, 'honest')
  const leech = await startLeech(t, film, { utp: false })
  const isLiar = (wire: Wire | undefined): boolean => wire?.remotePort === Number(liar.address.split(':')[1])
  const wrong: number[] = []
  const right: number[] = []
  const bytes = film.files[0]?.bytes ?? Buffer.alloc(0)
  judgeBlocks(leech.torrent, {
    // Piece 3 is asked of nobody, and after the first wrong piece the liar of nothing.
    mayAsk: (wire, piece) => piece !== 3 && (!isLiar(wire) || wrong.length === 0),
    onRight: ({ piece, bytes: found, senders }) => {
      right.push(piece)
      if (piece === 3) {
        t.equal(found, null, 'what others have filled is not told as the peers\' own')
        return
      }
      t.ok(found !== null && bytes.subarray(piece * 65_536, (piece + 1) * 65_536).equals(found), `the bytes of piece ${piece}`)
      t.equal(senders.filter((wire) => wire !== undefined).length, Math.ceil((found?.length ?? 0) / 16_384))
    },
    onWrong: ({ piece, bytes: found, senders }) => {
      wrong.push(piece)
      t.notOk(bytes.subarray(piece * 65_536, (piece + 1) * 65_536).equals(found))
      t.ok(isLiar(senders[Math.min(2, senders.length - 1)]), 'the wrong block is the liar\'s')
    }
  })
  leech.torrent.addPeer(liar.address)
  await once(leech.torrent, 'wire', { signal: signal() })
  await leech.release()
  const failed = once(leech.torrent, 'warning', { signal: signal() })
  leech.want(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
  await failed
  const done = verified(leech.torrent, 10)
  leech.torrent.addPeer(honest.address)
  await until('all that may be asked for is there', () => right.length === 9)
  t.ok(wrong.length > 0)
  markFilled(leech.torrent, 3)
  t.same((await done).sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
})

t.test('what one peer was asked for is given to others, and its own late answer does no harm', async (t) => {
  const silent = await startBadPeer(t, film, 'stalls')
  const leech = await startLeech(t, film, { utp: false })
  leech.torrent.addPeer(silent.address)
  const [wire]: [Wire] = await once(leech.torrent, 'wire', { signal: signal() }) as [Wire]
  await leech.release()
  leech.want(0)
  await until('it is asked', () => wire.requests.length > 0)
  t.equal(askedFor(leech.torrent, 0).filter((asked) => asked === wire).length, wire.requests.length)
  releaseRequests(leech.torrent, wire)
  releaseRequests(leech.torrent, wire)
  t.equal(askedFor(leech.torrent, 0).filter((asked) => asked === wire).length, 0)
  t.equal(askFor(leech.torrent, wire, 0), null, 'it owes that already')
  t.ok(askFor(leech.torrent, wire, 1) !== null)
  releaseRequests(leech.torrent, wire)
  t.equal(askedFor(leech.torrent, 1).filter((asked) => asked === wire).length, 0, 'what it was asked for later is given away, too')
  const honest = await startBadPeer(t, film, 'honest')
  const done = verified(leech.torrent, 1)
  leech.torrent.addPeer(honest.address)
  t.same(await done, [0])
})

t.test('who is refused does not get in, is not dialled again, and is let go', async (t) => {
  const leech = await startLeech(t, film, { utp: false })
  const seed = await startSeed(t, film, { utp: false })
  let isOpen = true
  const asked: string[] = []
  guardIncoming(leech.client, (address) => {
    asked.push(address)
    return !isOpen
  })
  guardRedials(leech.torrent, () => !isOpen)
  const wire = await connected(leech, seed)
  const closed = once(wire, 'close', { signal: signal() })
  isOpen = false
  dropPeers(leech.torrent, (address, peerId) => address === seed.address && peerId === wire.peerId)
  await closed
  t.equal(leech.torrent._peers?.size, 0)
  t.equal(leech.torrent._addPeer(seed.address, 'tcp'), null, 'as a redial would')
  const stranger = connect(leech.client.torrentPort, '127.0.0.1')
  stranger.on('error', () => {})
  await once(stranger, 'close', { signal: signal() })
  t.match(asked.at(-1), /^(::ffff:)?127\.0\.0\.1:\d+$/)
  isOpen = true
  await leech.release()
  seed.torrent.addPeer(`127.0.0.1:${leech.client.torrentPort}`)
  await once(leech.torrent, 'wire', { signal: signal() })
  leech.torrent.addPeer('127.0.0.1:9')
  dropPeers(leech.torrent, (address) => address === '127.0.0.1:9')
  t.equal(leech.torrent._peers?.has('127.0.0.1:9'), false, 'one that is being dialled, too')
})

t.test('a peer that hangs up is told of at once, and dialled again by nobody but us', async (t) => {
  const leech = await startLeech(t, film, { utp: false })
  const dropper = await startBadPeer(t, film, 'drops')
  const gone: string[] = []
  takeOverRedials(leech.torrent, (address) => { gone.push(address) })
  leech.torrent.addPeer(dropper.address)
  await until('it is gone', () => gone.includes(dropper.address))
  t.equal(dropper.counts.wires, 1)
  await pause(1_500)
  t.equal(dropper.counts.wires, 1, 'WebTorrent would have dialled it after a second')
  t.ok(dialAgain(leech.client, leech.torrent, dropper.address, undefined))
  t.notOk(dialAgain(leech.client, leech.torrent, dropper.address, undefined), 'it is being dialled')
  await until('it was reached once more', () => dropper.counts.wires === 2)
})

t.test('nodes of the DHT that were known are known again once they answer; those that are gone are not', async (t) => {
  const { bootstrap } = await startDht(t, 4)
  const before = await startClient(t, { dht: { bootstrap } })
  await until('the nodes are known', () => dhtNodes(before) === 4)
  if (!before.dht) throw new Error('no DHT')
  const state = dhtState(before.dht, 1_000)
  t.same([...state.nodes].sort(), [...bootstrap].sort())
  t.match(state.nodeId, /^[0-9a-f]{40}$/)
  t.equal(dhtState(before.dht, 2).nodes.length, 2)
  const after = await startClient(t, { dht: { bootstrap: false } })
  if (!after.dht) throw new Error('no DHT')
  greetNodes(after.dht, ['127.0.0.1:9', ...state.nodes, '127.0.0.1:9'], { atOnce: 2 })
  await until('they are known again', () => dhtNodes(after) === 4)
  t.same([...dhtState(after.dht, 1_000).nodes].sort(), [...bootstrap].sort())
})

t.test('a peer that knows no encryption is dialled without, one that insists on it with', async (t) => {
  for (const secure of [0, 2] as const) {
    const seed = await startSeed(t, film, { utp: false, secure })
    const leech = await startLeech(t, film, { utp: false })
    dialPlainToo(leech.client, leech.torrent)
    const wire = await connected(leech, seed)
    t.type(wire.peerId, 'string')
    t.equal(leech.client.secure, 1, 'other peers are dialled as before')
  }
})
