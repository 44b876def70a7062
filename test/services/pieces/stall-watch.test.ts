import t from 'tap'
import { StallWatch } from '../../../services/pieces/stall-watch.ts'

const KiB = 1024
const MiB = 1024 * KiB

/** The second in which a filler of these habits is called stalled; null: never within ten minutes. */
function stallsAt (pieceBytes: number, receivedAt: (second: number) => number, verifiedAt: (second: number) => number = () => 0, isAnyPieceProgress = false): number | null {
  const reading = (second: number) => ({ now: second * 1000, receivedBytes: receivedAt(second), verifiedCount: verifiedAt(second) })
  const watch = new StallWatch({ pieceBytes, stallTimeoutMs: 4000, isAnyPieceProgress }, reading(0))
  for (let second = 0; second < 600; second += 0.25) if (watch.check(reading(second)) !== null) return second
  return null
}

t.test('which filler stalls, and when', async t => {
  const cases: Array<[string, number | null, number | null]> = [
    ['nothing comes', stallsAt(MiB, () => 0), 4],
    ['a drip of 10 KiB/s', stallsAt(MiB, second => second * 10 * KiB), 4],
    ['a drip of 10 KiB/s is the whole of a small piece', stallsAt(32 * KiB, second => second * 10 * KiB), 15.25],
    ['it comes well and ends after 10 s', stallsAt(MiB * 100, second => Math.min(10, second) * MiB), 14],
    ['16 MiB at 200 KiB/s take 82 s and may take 328', stallsAt(16 * MiB, second => second * 200 * KiB), 327.75],
    ['1 MiB at 1 MiB/s may take 15 s', stallsAt(MiB, second => second * MiB), 15.25],
    ['other pieces come: four times that', stallsAt(MiB, second => second * MiB, second => Math.floor(second)), 60.25],
    ['other pieces come, and do as well', stallsAt(MiB, second => second * MiB, second => Math.floor(second), true), null],
    ['they do, until the 20th second', stallsAt(MiB, second => second * MiB, second => Math.min(20, Math.floor(second)), true), 35.25],
    ['other pieces come until the 20th second', stallsAt(MiB, second => second * MiB, second => Math.min(20, Math.floor(second))), 35.25]
  ]
  for (const [what, actual, expected] of cases) t.equal(actual, expected, what)
})

t.test('what it says can be read by people', async t => {
  const watch = new StallWatch({ pieceBytes: MiB, stallTimeoutMs: 4000 }, { now: 0, receivedBytes: 0, verifiedCount: 0 })
  t.equal(watch.check({ now: 4000, receivedBytes: 5, verifiedCount: 0 }), '5 bytes came within 4000 ms')
  const slow = new StallWatch({ pieceBytes: MiB, stallTimeoutMs: 4000 }, { now: 0, receivedBytes: 0, verifiedCount: 0 })
  t.equal(slow.check({ now: 16_000, receivedBytes: 8 * MiB, verifiedCount: 0 }), 'it did not come within 16000 ms, at 524 KB/s')
})
