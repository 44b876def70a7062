import t from 'tap'
import { MirrorRecord } from '../../../services/download/mirror-record.ts'
import { MirrorScores } from '../../../services/download/mirror-scores.ts'
import type { Mirror } from '../../../services/download/mirror.ts'
import type { TorrentFile } from '../../../services/torrent/metadata.ts'

const mirror: Mirror = {
  name: 'mirror.example',
  mayHave: (file) => file.index !== 9,
  request: async ({ end }) => ({ url: new URL('http://mirror.example/'), isTrusted: false, headers: {}, end, reply: 'range' })
}
function file (index: number): TorrentFile {
  return { index, components: ['x'], name: 'x', path: 'x', lengthBytes: 10_000_000, offset: 0, isPadding: false }
}

t.test('waits twice as long after each failure, at most 30 s, and as long as the server asks', async (t) => {
  const record = new MirrorRecord(mirror)
  let now = 0
  for (const waitMs of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    record.failed('status 500', { startedAt: now, now })
    t.equal(record.freeRuns(now + waitMs - 1), 0)
    t.equal(record.freeRuns(now + waitMs), 1)
    now += waitMs
  }
  record.failed('status 503', { startedAt: now, now, retryAfterMs: 100_000 })
  t.equal(record.retryAt, now + 100_000)
  t.equal(record.outcome, 'mirror.example: status 503')
})

t.test('one that asks to be left alone for long is not counted on, and tried again when it said', async (t) => {
  const record = new MirrorRecord(mirror)
  record.failed('status 503', { startedAt: 0, now: 0, retryAfterMs: 30_000 })
  t.equal(record.isHopeful, true)
  record.failed('status 503', { startedAt: 30_000, now: 30_000, retryAfterMs: 60_000 })
  t.equal(record.isHopeful, false)
  record.forgive(89_999)
  t.equal(record.isHopeful, false)
  record.forgive(90_000)
  t.equal(record.isHopeful, true)
})

t.test('is hopeless after three failures in a row, until a piece comes or a new reader does', async (t) => {
  const record = new MirrorRecord(mirror)
  for (const startedAt of [0, 1000, 3000]) {
    t.equal(record.isHopeful, true)
    record.failed('reset', { startedAt, now: startedAt })
  }
  t.equal(record.isHopeful, false)
  record.forgive(3001)
  t.equal(record.isHopeful, false, 'not before it may be asked again')
  record.forgive(10_000)
  t.equal(record.isHopeful, true)
  record.failed('reset', { startedAt: 10_000, now: 10_000 })
  record.delivered(1000, 10_001)
  record.failed('reset', { startedAt: 20_000, now: 20_000 })
  t.equal(record.retryAt, 20_500, 'a piece in between makes the next failure the first one')
})

t.test('runs that fail side by side are one failure, and only one tries again', async (t) => {
  const record = new MirrorRecord(mirror)
  record.activeRuns = 4
  for (let i = 0; i < 4; i++) record.failed('reset', { startedAt: 0, now: 10 + i })
  t.equal(record.isHopeful, true)
  record.activeRuns = 0
  t.equal(record.freeRuns(10_000), 1)
  record.activeRuns = 1
  t.equal(record.freeRuns(10_000), 0)
})

t.test('a mirror has to show that it answers ranges before it gets more than one run; once is enough for all torrents', async (t) => {
  const scores = new MirrorScores()
  const record = new MirrorRecord(mirror, { score: scores.of('mirror.example') })
  t.equal(record.freeRuns(0), 1)
  record.answered(file(0), { isWholeFile: true, validator: null })
  t.equal(record.freeRuns(0), Infinity)
  t.equal(new MirrorRecord(mirror, { score: scores.of('mirror.example') }).freeRuns(0), 1, 'whole files prove nothing')
  record.answered(file(0), { isWholeFile: false, validator: null })
  t.equal(new MirrorRecord(mirror, { score: scores.of('mirror.example') }).freeRuns(0), Infinity)
})

t.test('a server that is too busy for another connection keeps the others', async (t) => {
  const record = new MirrorRecord(mirror)
  record.answered(file(0), { isWholeFile: false, validator: null })
  record.activeRuns = 4
  record.failed('status 503', { startedAt: 0, now: 0, isBusy: true })
  record.delivered(1000, 10)
  record.activeRuns = 2
  t.equal(record.freeRuns(10_000), 1)
  record.activeRuns = 3
  t.equal(record.freeRuns(10_000), 0)
})

t.test('knows which files it lacks; lacking three and having none, it is out', async (t) => {
  const record = new MirrorRecord(mirror)
  t.equal(record.mayHave(file(9)), false)
  record.lacks(file(0), 'status 404')
  record.lacks(file(0), 'status 404')
  record.lacks(file(1), 'status 404')
  t.equal(record.mayHave(file(0)), false)
  t.equal(record.mayHave(file(2)), true)
  t.equal(record.isHopeful, true)
  record.lacks(file(3), 'status 404')
  t.equal(record.isOut, true)
  t.equal(record.mayHave(file(2)), false)
})

t.test('a mirror that ignores ranges can still start near the beginning of a file', async (t) => {
  const record = new MirrorRecord(mirror)
  record.ignoresRange(file(0), 'it sends whole files only')
  t.equal(record.mustReadTo(file(0), 1024 * 1024), false)
  t.equal(record.mustReadTo(file(0), 1024 * 1024 + 1), true)
  t.equal(record.mustReadTo(file(1), 1024 * 1024 + 1), false, 'of other files nothing is known')
  t.equal(record.readingMs(20_000_000), 2000)
  record.measured({ bytes: 1_000_000, elapsedMs: 1000 })
  t.equal(record.readingMs(20_000_000), 20_000)
  record.answered(file(0), { isWholeFile: false, validator: null })
  t.equal(record.mustReadTo(file(0), 1024 * 1024 + 1), false)
})

t.test('its speed is that of what tells something of it', async (t) => {
  const record = new MirrorRecord(mirror)
  record.measured({ bytes: 1000, elapsedMs: 10 })
  t.equal(record.bytesPerSecond, null)
  record.measured({ bytes: 1_000_000, elapsedMs: 1000 })
  t.equal(record.bytesPerSecond, 1_000_000)
  record.measured({ bytes: 10, elapsedMs: 1000 })
  t.ok((record.bytesPerSecond ?? 0) < 701_000)
})

t.test('a liar is out for ten minutes, longer each time, and back when a piece on trial was right', async (t) => {
  const score = new MirrorScores().of('mirror.example')
  const record = new MirrorRecord(mirror, { score, infohash: 'a' })
  record.lied(file(0), 7, 1000, 0)
  record.forgive(1e9)
  t.equal(record.freeRuns(599_999), 0)
  t.equal(record.isHopeful, false)
  t.equal(record.badBytes, 1000)
  t.match(record.outcome, /wrong bytes for piece 7/)
  t.equal(new MirrorRecord(mirror, { score, infohash: 'a' }).isQuarantined, true, 'a new download of the torrent knows it')
  t.equal(new MirrorRecord(mirror, { score, infohash: 'b' }).isQuarantined, false, 'another torrent is another file')
  t.ok(new MirrorRecord(mirror, { score, infohash: 'b' }).handicap > 1)
  record.delivered(1000, 100)
  t.equal(record.isQuarantined, true, 'what was under way when it lied acquits it of nothing')
  t.equal(record.freeRuns(600_000), 1, 'one run on trial')
  record.lied(file(0), 8, 500, 600_000)
  t.equal(record.freeRuns(1_799_999), 0)
  t.equal(record.freeRuns(1_800_000), 1)
  record.delivered(1000, 1_800_000)
  t.equal(record.isQuarantined, false)
  t.equal(score.badBytes, 1500)
})

t.test('a mirror whose file was another one before has lost the file, when its bytes are wrong', async (t) => {
  const record = new MirrorRecord(mirror)
  record.answered(file(0), { isWholeFile: false, validator: '"a"' })
  record.answered(file(0), { isWholeFile: false, validator: null })
  record.answered(file(1), { isWholeFile: false, validator: '"b"' })
  record.answered(file(0), { isWholeFile: false, validator: '"a2"' })
  t.equal(record.mayHave(file(0)), true, 'a changed validator alone proves nothing')
  record.lied(file(0), 3, 1000, 0)
  t.equal(record.mayHave(file(0)), false)
  t.equal(record.mayHave(file(1)), true)
  t.equal(record.isQuarantined, false)
  t.match(record.outcome, /its file has changed/)
})
