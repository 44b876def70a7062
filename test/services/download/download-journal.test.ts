import t from 'tap'
import { DownloadJournal } from '../../../services/download/download-journal.ts'
import { silent } from '../../../services/log.ts'
import { makeTorrent } from './origin.ts'

const { metadata } = makeTorrent({ name: 'film.mp4', content: Buffer.alloc(2_000_000) })
const store = { layout: { version: 1, edgeDirectory: '', files: [[0, 'film']] as const }, verifiedBytesOf: () => 500_000 }

t.test('says its progress at most once in an interval, in the words that people look for', async (t) => {
  const lines: string[] = []
  const log = { ...silent, info: (_fields: object, line: string) => { lines.push(line) } }
  const journal = new DownloadJournal({ metadata, store, log, progressIntervalMs: 100 })
  const since = performance.now()
  while (lines.length < 3) {
    journal.received(10_000)
    await new Promise((resolve) => { setImmediate(resolve) })
  }
  t.ok(performance.now() - since >= 300)
  for (const line of lines) t.match(line, /^\[Hybrid\] Progress: 25\.0% \(488 KB\/1\.9 MB\) @ [\d.]+ [KMG]B\/s$/)
})

t.test('knows how long the rest will take, as far as anything comes', async (t) => {
  const journal = new DownloadJournal({ metadata, store, log: silent })
  t.match(journal.progress([]), { verifiedBytes: 500_000, totalBytes: 2_000_000, bytesPerSecond: 0, secondsLeft: null, mirrors: [] })
  journal.received(100_000)
  const { bytesPerSecond, secondsLeft, mirrors } = journal.progress(['mirror.example'])
  t.equal(secondsLeft, Math.ceil(1_500_000 / bytesPerSecond))
  t.strictSame(mirrors, ['mirror.example'])
  t.equal(new DownloadJournal({ metadata, store: { ...store, verifiedBytesOf: () => 2_000_000 }, log: silent }).progress([]).secondsLeft, 0)
})
