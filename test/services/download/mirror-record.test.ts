import t from 'tap'
import { MirrorRecord } from '../../../services/download/mirror-record.ts'
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
    t.equal(record.isFree(now + waitMs - 1), false)
    t.equal(record.isFree(now + waitMs), true)
    now += waitMs
  }
  record.failed('status 503', { startedAt: now, now, retryAfterMs: 100_000 })
  t.equal(record.retryAt, now + 100_000)
  t.equal(record.outcome, 'mirror.example: status 503')
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
  record.delivered(1000, 10)
  t.equal(record.bytesPerSecond, 100_000)
  record.failed('reset', { startedAt: 20_000, now: 20_000 })
  t.equal(record.retryAt, 20_500, 'a piece in between makes the next failure the first one')
})

t.test('runs that fail side by side are one failure, and only one tries again', async (t) => {
  const record = new MirrorRecord(mirror)
  record.activeRuns = 4
  for (let i = 0; i < 4; i++) record.failed('reset', { startedAt: 0, now: 10 + i })
  t.equal(record.isHopeful, true)
  record.activeRuns = 0
  t.equal(record.isFree(10_000), true)
  record.activeRuns = 1
  t.equal(record.isFree(10_000), false)
})

t.test('a server that is too busy for another connection keeps the others', async (t) => {
  const record = new MirrorRecord(mirror)
  record.activeRuns = 4
  record.failed('status 503', { startedAt: 0, now: 0, isBusy: true })
  record.delivered(1000, 10)
  record.activeRuns = 2
  t.equal(record.isFree(10_000), true)
  record.activeRuns = 3
  t.equal(record.isFree(10_000), false)
})

t.test('knows which files it lacks; lacking three and having none, it is out', async (t) => {
  const record = new MirrorRecord(mirror)
  t.equal(record.canStart(file(9), 0), false)
  record.lacks(file(0), 'status 404')
  record.lacks(file(0), 'status 404')
  record.lacks(file(1), 'status 404')
  t.equal(record.canStart(file(0), 0), false)
  t.equal(record.canStart(file(2), 0), true)
  t.equal(record.isHopeful, true)
  record.lacks(file(3), 'status 404')
  t.equal(record.isOut, true)
  t.equal(record.canStart(file(2), 0), false)
})

t.test('a mirror that ignores ranges can still start near the beginning', async (t) => {
  const record = new MirrorRecord(mirror)
  record.ignoresRange('it sends whole files only')
  t.equal(record.canStart(file(0), 1024 * 1024), true)
  t.equal(record.canStart(file(0), 1024 * 1024 + 1), false)
})

t.test('a liar is out for good', async (t) => {
  const record = new MirrorRecord(mirror)
  record.quarantine(7, 1000)
  record.quarantine(8, 1000)
  record.forgive(1e9)
  t.equal(record.isFree(1e9), false)
  t.equal(record.isHopeful, false)
  t.equal(record.badBytes, 2000)
  t.match(record.outcome, /wrong bytes for piece 7/)
})
