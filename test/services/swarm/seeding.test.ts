import t from 'tap'
import { isWorthSeeding, mayUpload, owes, ratioOf } from '../../../services/swarm/seeding.ts'

const shares = (uploadedBytes: number, downloadedBytes = 1_000) => ({ uploadedBytes, downloadedBytes })
const MB = 1_000_000
/** Ratio, upload limit, given of 1000 bytes, for how long nothing is missing; is something given? */
const cases: ReadonlyArray<readonly [name: string, ratio: number, limit: number, given: number, notWantedMs: number, expected: boolean]> = [
  ['by default until as much was given as was got', 1, -1, 999, 600_000, true],
  ['then nothing more', 1, -1, 1_000, 600_000, false],
  ['whatever was given, while something is missing', 1, -1, 50_000, 0, true],
  ['and for a moment after', 1, -1, 50_000, 9_999, true],
  ['no longer than that', 1, -1, 50_000, 10_000, false],
  ['on a panel while something is missing', 0, -1, 0, 0, true],
  ['on a panel nothing afterwards', 0, -1, 0, 10_000, false],
  ['half of it', 0.5, -1, 499, 600_000, true],
  ['half of it was given', 0.5, -1, 500, 600_000, false],
  ['a limit changes nothing about the ratio', 1, MB, 999, 600_000, true],
  ['a limit of 0 gives nothing, even while something is missing', 1, 0, 0, 0, false]
]
for (const [name, ratio, uploadLimitBytes, given, notWantedMs, expected] of cases) {
  t.test(`what is given to peers: ${name}`, async (t) => {
    t.equal(mayUpload({ ratio, uploadLimitBytes }, shares(given), notWantedMs), expected)
  })
}

t.test('a torrent that nobody reads goes on while it has given too little and somebody takes something', async (t) => {
  const policy = { ratio: 1, uploadLimitBytes: -1 }
  const halfAnHour = 30 * 60_000
  t.ok(isWorthSeeding(policy, shares(0), halfAnHour - 1))
  t.notOk(isWorthSeeding(policy, shares(0), halfAnHour), 'nobody wants it')
  t.notOk(isWorthSeeding(policy, shares(1_000), 0), 'it has given enough')
  t.notOk(isWorthSeeding({ ...policy, ratio: 0 }, shares(0), 0), 'a panel')
  t.notOk(isWorthSeeding({ ...policy, uploadLimitBytes: 0 }, shares(0), 0), 'nothing may be given')
  t.notOk(owes(policy, shares(0, 0)), 'there is nothing to give')
})

t.test('the ratio is of what was downloaded, and 0 where that is nothing', async (t) => {
  t.equal(ratioOf(shares(500)), 0.5)
  t.equal(ratioOf(shares(0, 0)), 0)
})
