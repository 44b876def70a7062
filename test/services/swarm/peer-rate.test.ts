import t from 'tap'
import { PeerRate } from '../../../services/swarm/peer-rate.ts'

const block = 16_384

/** Answers so many blocks, one each so many milliseconds, with more to answer at all times. */
function answer (rate: PeerRate, count: number, eachMs: number, startMs: number): number {
  for (let i = 1; i <= count; i++) rate.answered(block, false, startMs + i * eachMs)
  return startMs + count * eachMs
}

t.test('nothing is known of a new peer', async (t) => {
  const rate = new PeerRate()
  t.equal(rate.bytesPerSecond(1_000), 65_536)
})

t.test('the rate is what comes while it has something to answer', async (t) => {
  const rate = new PeerRate()
  rate.asked(0)
  const end = answer(rate, 100, 10, 0)
  t.ok(Math.abs(rate.bytesPerSecond(end) - block * 100) < 1_000)
  rate.answered(block, true, end + 10)
  t.ok(rate.bytesPerSecond(end + 60_000) > block * 90, 'a minute without a request does not make it slow')
  rate.asked(end + 60_000)
  rate.answered(block, false, end + 60_010)
  t.ok(rate.bytesPerSecond(end + 60_010) > block * 90)
})

t.test('a peer that gets slower is soon known as such', async (t) => {
  const rate = new PeerRate()
  rate.asked(0)
  const end = answer(rate, 1000, 2, 0)
  const slower = answer(rate, 10, 500, end)
  const found = rate.bytesPerSecond(slower) / block
  t.ok(found > 1 && found < 100, `${found} blocks a second, after 500 and then 2`)
})

t.test('who owes an answer and says nothing is doubted, the more the longer', async (t) => {
  const rate = new PeerRate()
  rate.asked(0)
  const end = answer(rate, 100, 5, 0)
  t.ok(rate.bytesPerSecond(end + 200) > block * 150, 'not at once')
  t.equal(rate.bytesPerSecond(end + 1_000), block)
  t.equal(rate.bytesPerSecond(end + 10_000), block / 10)
  rate.idle(end + 10_000)
  t.equal(rate.bytesPerSecond(end + 11_000), block / 10, 'nor is what it owed forgotten when it is taken back')
  rate.asked(end + 11_000)
  rate.idle(end + 11_100)
  t.equal(rate.bytesPerSecond(end + 12_000), block / 10)
  t.ok(rate.bytesPerSecond(end + 42_000) > block * 150, 'until half a minute later')
  rate.idle(end + 50_000)
  rate.asked(end + 50_000)
  rate.idle(end + 50_100)
  t.ok(rate.bytesPerSecond(end + 50_100) > block * 150, 'one that had no time to answer is not doubted')
  const unknown = new PeerRate()
  unknown.asked(0)
  t.equal(unknown.bytesPerSecond(8_000), block / 8, 'nor is one believed that never said anything')
  t.notOk(unknown.isSilent(400))
  t.ok(unknown.isSilent(600))
  t.notOk(rate.isSilent(end + 10_000))
  unknown.idle(8_000)
  t.ok(unknown.isSilent(9_000))
  unknown.asked(9_000)
  unknown.answered(block, true, 9_100)
  t.ok(unknown.bytesPerSecond(9_100) >= 65_536, 'with its first answer it is believed')
})

t.test('a slow peer is not doubted for being slow', async (t) => {
  const rate = new PeerRate()
  rate.asked(0)
  const end = answer(rate, 10, 1_000, 0)
  t.ok(Math.abs(rate.bytesPerSecond(end + 2_500) - block) < 100)
  t.ok(rate.bytesPerSecond(end + 4_000) < block / 3)
})

t.test('as much is under way as keeps the peer busy, and not more', async (t) => {
  const rate = new PeerRate()
  t.equal(rate.queueBlocks(0), 7, 'of an unknown one')
  rate.asked(0)
  const end = answer(rate, 300, 10, 0)
  t.equal(rate.queueBlocks(end), 65, '0.6 s of a steady one')
})

t.test('one that answers in bursts, or from far away, soon has enough to answer', async (t) => {
  const rate = new PeerRate()
  const blocks: number[] = []
  rate.asked(0)
  for (let atMs = 1_000; atMs <= 8_000; atMs += 1_000) {
    // All that it was asked for, once a second.
    blocks.push(rate.queueBlocks(atMs - 1_000))
    for (let i = 0; i < (blocks.at(-1) ?? 0); i++) rate.answered(block, false, atMs)
  }
  t.ok((blocks.at(-1) ?? 0) > 60, blocks.join(' '))
})
