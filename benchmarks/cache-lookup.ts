// How long it takes to say which placed file a torrent has, among few files and among many.
// node benchmarks/cache-lookup.ts [--rounds N]
//
// A hit looks at the file and its folder; a miss looks at the directory, and at folders that may have changed. Rounds go from case to case in
// turn, so that whatever else the machine does meets all of them.
import { mkdir, mkdtemp, open, rm, utimes } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { CacheIndex } from '../services/cache/cache-index.ts'
import { settledAfterMs } from '../services/cache/folder-listing.ts'
import { StoredFiles } from '../services/cache/stored-files.ts'
import { silent } from '../services/log.ts'
import { mapBounded } from '../services/map-bounded.ts'
import { median, percentile, printTable, ratio } from './figures.ts'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '300' } } })
const rounds = Number(values.rounds)

const cases = [
  { what: '10 files', files: 10, folders: 0 },
  { what: '10,000 files', files: 10_000, folders: 0 },
  { what: '10,000 files in 2,000 folders', files: 10_000, folders: 2000 }
]

const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
try {
  const results = []
  for (const [i, { what, files, folders }] of cases.entries()) {
    const root = join(directory, String(i))
    await fill(root, files, folders)
    const stored = await StoredFiles.open({ directory: root, log: silent })
    const cache = new CacheIndex({ directory: root, mediaPaths: [], stored, isCacheOnly: false, log: silent })
    const before = performance.now()
    cache.start()
    await lookUp(cache, infohashOf(files), false)
    results.push({ what, files, cache, firstMs: performance.now() - before, hits: [] as number[], misses: [] as number[] })
  }
  // What was read a moment ago is read again, not looked at.
  await new Promise(resolve => setTimeout(resolve, settledAfterMs + 500))
  for (const { cache, files } of results) await lookUp(cache, infohashOf(files), false)
  for (let round = 0; round < rounds; round++) {
    for (const { cache, files, hits, misses } of results) {
      hits.push(await lookUp(cache, infohashOf(round % files), true))
      misses.push(await lookUp(cache, infohashOf(files + round), false))
    }
  }
  for (const { cache } of results) cache.close()
  const [few] = results
  printTable(
    `Which placed file a torrent has: median of ${rounds} lookups.`,
    ['placed', 'hit', 'of that with 10', 'p99', 'miss', 'of that with 10', 'p99', 'first lookup after the start'],
    results.map(({ what, hits, misses, firstMs }) => [
      what,
      ms(median(hits)),
      ratio(median(hits), median(few?.hits ?? [])),
      ms(percentile(hits, 0.99)),
      ms(median(misses)),
      ratio(median(misses), median(few?.misses ?? [])),
      ms(percentile(misses, 0.99)),
      `${firstMs.toFixed(0)} ms`
    ]))
} finally {
  await rm(directory, { recursive: true })
}

async function lookUp (cache: CacheIndex, infohash: string, isThere: boolean): Promise<number> {
  const before = performance.now()
  const found = await cache.find(infohash, null, null)
  const took = performance.now() - before
  if ((found !== null) !== isThere) throw new Error(`${infohash} should ${isThere ? '' : 'not '}be found`)
  return took
}

/** Files that take no room, last touched an hour ago. */
async function fill (root: string, files: number, folders: number): Promise<void> {
  await mkdir(root)
  for (let i = 0; i < folders; i++) await mkdir(join(root, `folder ${i}`))
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await mapBounded(Array.from({ length: files }, (_, i) => i), 16, async i => {
    const path = join(root, folders === 0 ? '' : `folder ${i % folders}`, `A movie [${infohashOf(i)}].mkv`)
    const file = await open(path, 'w')
    await file.truncate(1_000_000)
    await file.close()
    await utimes(path, anHourAgo, anHourAgo)
  })
}

function infohashOf (i: number): string {
  return i.toString(16).padStart(40, '0')
}

function ms (value: number): string {
  return `${value.toFixed(2)} ms`
}
