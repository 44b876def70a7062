import { EventEmitter, once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import type { Torrent, Wire } from 'webtorrent'
import { askFor, askToo, markWaiting, roomOf, takeBack, takeOver, unaskedBlocks } from '../../../services/swarm/internals/asking.ts'
import { onRefused } from '../../../services/swarm/internals/blocks.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { startBadPeer } from './bad-peer.ts'
import { startClient } from './webtorrent-seed.ts'

/** The private calls of internals/asking.ts, with real peers that never answer. */

const film = await makeTorrent({ 'film.mkv': testBytes(640_000, 'asking') }, { pieceLength: 65_536 })
const blockBytes = 16_384

async function startLeech (t: Test, peers: number): Promise<{ torrent: Torrent, wires: readonly Wire[], runs: () => number }> {
  const client = await startClient(t, { utp: false })
  const torrent = client.add(film.torrent, { path: await temporaryDirectory(t), deselect: true })
  let runs = 0
  takeOver(torrent, () => { runs++ })
  await once(torrent, 'ready', { signal: AbortSignal.timeout(20_000) })
  for (let i = 0; i < peers; i++) torrent.addPeer((await startBadPeer(t, film, 'stalls')).address)
  await until('all are connected and unchoke us', () => torrent.wires.length === peers && torrent.wires.every(({ peerChoking }) => !peerChoking))
  return { torrent, wires: torrent.wires, runs: () => runs }
}

t.test('WebTorrent asks for nothing by itself, and says when it would', async (t) => {
  const { torrent, wires, runs } = await startLeech(t, 1)
  torrent.emit('verified', 0)
  torrent._update()
  t.ok(runs() > 0)
  t.same(wires[0]?.requests, [])
  markWaiting(torrent, [2, 4])
  t.same(Object.keys(torrent._critical), ['2', '4'])
})

t.test('a block is asked of one peer, then of another, too; once it is there the second request is taken back', async (t) => {
  const { torrent, wires: [first, second] } = await startLeech(t, 2)
  if (first === undefined || second === undefined) throw new Error('no peers')
  t.equal(unaskedBlocks(torrent, 3), 4)
  t.match(askFor(torrent, first, 3), { piece: 3, offset: 0, length: blockBytes })
  t.match(askFor(torrent, first, 3), { piece: 3, offset: blockBytes })
  t.equal(unaskedBlocks(torrent, 3), 2)
  t.match(askToo(torrent, second, 3, 0), { piece: 3, offset: 0 })
  t.equal(unaskedBlocks(torrent, 3), 2, 'one more for the same block changes nothing there')

  takeBack(torrent, 3, 0)
  t.equal(second.requests.length, 1, 'the block has come for a piece that was begun anew since: it is still owed')
  torrent.pieces[3]?.set(0, Buffer.alloc(blockBytes), first)
  takeBack(torrent, 3, 0)
  t.same(second.requests, [])
  t.same(first.requests.map(({ offset }) => offset), [blockBytes])
  t.equal(unaskedBlocks(torrent, 3), 2, 'and nobody is asked for it again')

  t.match(askFor(torrent, second, 3), { offset: 2 * blockBytes })
  t.match(askFor(torrent, second, 3), { offset: 3 * blockBytes })
  t.equal(askFor(torrent, second, 3), null, 'all are asked for')
  torrent.pieces[3]?.cancel(0)
  t.equal(askFor(torrent, second, 3), null, 'what is there is not fetched, even if somebody gives it back')
})

t.test('a peer is asked for no more than it allows, and for more only when a part is answered', async (t) => {
  const { torrent, wires: [wire] } = await startLeech(t, 1)
  if (wire === undefined) throw new Error('no peer')
  t.equal(roomOf(wire, 20), 20)
  for (let i = 0; i < 16; i++) t.ok(askFor(torrent, wire, Math.floor(i / 4)) !== null)
  t.equal(roomOf(wire, 24), 8)
  t.equal(roomOf(wire, 20), 0)
  wire.peerExtendedHandshake['reqq'] = 5
  t.equal(roomOf(wire, 1000), 0)
})

t.test('the answer to a cancelled request is no refusal, also when the block was asked for again meanwhile', async (t) => {
  const rejects: number[] = []
  const requests: Array<{ piece: number, offset: number, length: number }> = []
  const wire = Object.assign(new EventEmitter(), {
    hasFast: true,
    requests,
    cancel (piece: number) { requests.splice(requests.findIndex((request) => request.piece === piece), 1) },
    _onReject (piece: number) { rejects.push(piece) }
  }) as unknown as Wire
  const refused: number[] = []
  onRefused(wire, (piece) => { refused.push(piece) })
  const ask = (piece: number): void => { requests.push({ piece, offset: 0, length: blockBytes }) }
  ask(1)
  wire.cancel(1, 0, blockBytes)
  ask(1)
  wire._onReject(1, 0, blockBytes)
  t.same(refused, [])
  t.same(rejects, [], 'the second request is still owed')
  wire._onReject(1, 0, blockBytes)
  t.same(refused, [1])
  t.same(rejects, [1])
  ask(2)
  wire.cancel(2, 0, blockBytes)
  wire.emit('piece', 2, 0)
  ask(2)
  wire._onReject(2, 0, blockBytes)
  t.same(refused, [1, 2], 'it sent the cancelled block after all, and refuses the second time')
})
