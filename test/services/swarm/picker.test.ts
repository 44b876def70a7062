import t from 'tap'
import { askAgain, blockBytes, shareOut } from '../../../services/swarm/picker.ts'
import type { AskedPeer, OwedBlock } from '../../../services/swarm/picker.ts'
import { seededRandom } from '../pieces/torrent.ts'

interface TestPeer extends AskedPeer {
  readonly name: string
  /** Whom it was given what, piece by piece. */
  readonly given: number[]
}

function peer (name: string, kilobytesPerSecond: number, options: Partial<AskedPeer> = {}): TestPeer {
  return { name, bytesPerSecond: kilobytesPerSecond * 1000, outstandingBytes: 0, room: 1000, mayClaim: true, has: () => true, given: [], ...options }
}

function share (peers: readonly TestPeer[], pieces: ReadonlyArray<readonly [piece: number, blocks: number]>, mayAsk = (_peer: TestPeer, _piece: number) => true): void {
  shareOut(peers, pieces.map(([piece, blocks]) => ({ piece, blocks })), (peer, piece) => {
    if (!mayAsk(peer, piece)) return false
    peer.given.push(piece)
    return true
  })
}

/** So many pieces of 1 MiB. */
function pieces (count: number): Array<[piece: number, blocks: number]> {
  return Array.from({ length: count }, (_, piece) => [piece, 64])
}

t.test('what is wanted first goes to the fast peer, slow ones get what is wanted later', async (t) => {
  const [fast, slow] = [peer('fast', 5_000), peer('slow', 20)]
  share([slow, fast], pieces(12))
  t.same(slow.given, [10], 'one block takes it 0.8 s, and may take it 2.1: in which the other one brings 650')
  t.equal(fast.given.length, 12 * 64 - 1)
})

t.test('a piece is spread over fast peers by their speed', async (t) => {
  const peers = [peer('a', 1_000), peer('b', 1_000), peer('c', 2_000)]
  share(peers, [[0, 64]])
  t.same(peers.map(({ given }) => given.length), [16, 16, 32])
})

t.test('what a peer still owes counts', async (t) => {
  const [busy, free] = [peer('busy', 2_000, { outstandingBytes: 64 * blockBytes }), peer('free', 1_000)]
  share([busy, free], [[0, 32]])
  t.same([busy.given.length, free.given.length], [0, 32])
})

t.test('a fast peer without room keeps what it will bring before a slow one does', async (t) => {
  const [full, slow] = [peer('full', 5_000, { room: 0, outstandingBytes: 100 * blockBytes }), peer('slow', 20, { room: 4 })]
  share([full, slow], pieces(12))
  t.same(slow.given, [8])
  const loner = peer('loner', 5_000, { room: 0, mayClaim: false })
  const other = peer('other', 20, { room: 4 })
  share([loner, other], [[0, 64]])
  t.same(other.given, [0, 0, 0, 0], 'nothing is left to one that may not have it')
})

t.test('nobody is asked for more than it has room for, nor for what it has not', async (t) => {
  const [a, b] = [peer('a', 1_000, { room: 3 }), peer('b', 1_000, { has: (piece) => piece === 1 })]
  share([a, b], [[0, 10], [1, 10]])
  t.same(a.given, [0, 0, 0])
  t.same(b.given, Array(10).fill(1))
})

t.test('who may not be asked is passed over', async (t) => {
  const [fast, slow] = [peer('fast', 5_000), peer('slow', 20)]
  share([fast, slow], [[0, 3], [1, 3]], ({ name }, piece) => name !== 'fast' || piece !== 0)
  t.same(slow.given, [0, 0, 0])
  t.same(fast.given, [1, 1, 1])
  share([peer('choked', 0)], [[0, 3]])
})

t.test('with any peers of about the same speed: each block once, and the first pieces as soon as could be', async (t) => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = seededRandom(seed)
    const peers = Array.from({ length: 1 + random(12) }, (_, i) => peer(`${i}`, 100 + random(300), { outstandingBytes: random(20) * blockBytes }))
    const blocks = 1 + random(300)
    share(peers, [[0, blocks]])
    const given = peers.reduce((sum, { given }) => sum + given.length, 0)
    if (given !== blocks) t.fail(`seed ${seed}: ${given} of ${blocks} blocks`)
    const endOf = (peer: TestPeer, more: number): number => (peer.outstandingBytes + (peer.given.length + more) * blockBytes) / peer.bytesPerSecond
    const last = Math.max(...peers.filter(({ given }) => given.length > 0).map((peer) => endOf(peer, 0)))
    // No peer could have brought one more in less time: nothing would come sooner in another way.
    const better = peers.filter((peer) => endOf(peer, 1) < last - 1e-9)
    if (better.length > 0) t.fail(`seed ${seed}: ${better.length} peers could have brought it sooner`)
  }
})

function owed (block: number, askedOf: readonly TestPeer[], expectedMs: number, isWaitedFor = false): OwedBlock<TestPeer> {
  return { piece: 0, block, askedOf, expectedMs, isWaitedFor }
}

function again (peers: readonly TestPeer[], blocks: ReadonlyArray<OwedBlock<TestPeer>>, mayAsk = (_name: string): boolean => true): Array<[name: string, block: number]> {
  const asked: Array<[string, number]> = []
  askAgain(peers, blocks, ({ name }, { block }) => {
    if (!mayAsk(name)) return false
    asked.push([name, block])
    return true
  })
  return asked
}

t.test('a late block is asked of the one who brings it much sooner', async (t) => {
  const [fast, medium, slow] = [peer('fast', 5_000), peer('medium', 500), peer('slow', 20)]
  t.same(again([medium, slow, fast], [owed(7, [slow], 800), owed(8, [slow], Infinity)]), [['fast', 7], ['fast', 8]])
  t.same(again([fast, medium], [owed(7, [medium], 33)]), [], 'what comes soon is waited for')
  t.same(again([medium, slow], [owed(7, [slow], 60)]), [], 'nor is it worth it for half the time')
  t.same(again([medium, slow], [owed(7, [slow], 100, true)]), [['medium', 7]], 'a reader waits for it')
  t.same(again([slow], [owed(7, [slow], 5_000)]), [], 'nobody is asked twice')
})

t.test('each late block is asked of three peers at most, and of nobody beyond its room', async (t) => {
  const peers = [peer('a', 1_000), peer('b', 1_000), peer('c', 1_000), peer('d', 1_000)]
  t.same(again(peers, [owed(1, peers.slice(0, 3), 60_000)]), [])
  t.same(again(peers, [owed(1, peers.slice(0, 3), Infinity)]), [['d', 1]], 'unless nobody knows whether they ever answer')
  const [late, one] = [peer('late', 1), peer('one', 1_000, { room: 1 })]
  t.same(again([late, one], [owed(1, [late], 60_000), owed(2, [late], 60_000)]), [['one', 1]])
})

t.test('where the fastest may not be asked for a late block, the next one is', async (t) => {
  const [silent, suspect, honest] = [peer('silent', 1), peer('suspect', 5_000), peer('honest', 500)]
  t.same(again([silent, suspect, honest], [owed(7, [silent], Infinity, true)], (name) => name !== 'suspect'), [['honest', 7]])
  t.same(again([silent, suspect], [owed(7, [silent], Infinity, true)], (name) => name !== 'suspect'), [])
})

t.test('late blocks are spread, and only over who has them', async (t) => {
  const late = peer('late', 1)
  const peers = [peer('a', 1_000), peer('b', 1_000), peer('c', 9_000, { has: (piece) => piece === 9 })]
  const asked = again(peers, Array.from({ length: 10 }, (_, block) => owed(block, [late], 60_000)))
  t.equal(asked.filter(([name]) => name === 'a').length, 5)
  t.equal(asked.filter(([name]) => name === 'b').length, 5)
})
