import t from 'tap'
import { MirrorScores, quarantine } from '../../../services/download/mirror-scores.ts'

t.test('what is known of a mirror is kept by its name, and that of the least looked at is forgotten', async (t) => {
  const scores = new MirrorScores(3)
  for (const name of ['a', 'b', 'c']) scores.of(name).bytesPerSecond = 5
  scores.of('a')
  scores.of('d')
  t.equal(scores.size, 3)
  t.equal(scores.of('a').bytesPerSecond, 5)
  t.equal(scores.of('b').bytesPerSecond, null)
})

t.test('a quarantine doubles up to a day, and those of few torrents are kept', async (t) => {
  const score = new MirrorScores().of('a')
  const ends = Array.from({ length: 10 }, () => {
    quarantine(score, 'x', 0, 600_000)
    return (score.quarantines.get('x')?.until ?? 0) / 60_000
  })
  t.strictSame(ends, [10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440])
  for (let i = 0; i < 100; i++) quarantine(score, String(i), 0, 1)
  t.equal(score.quarantines.size, 50)
  t.equal(score.quarantines.has('99'), true)
})
