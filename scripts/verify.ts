// Hashes what is in the cache: see services/cache/verify.ts and services/cache/repair.ts.
import { stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { DirectoryInUse, lockDirectory } from '../services/cache/directory-lock.ts'
import { repairStored, requestRepair } from '../services/cache/repair.ts'
import type { Repair } from '../services/cache/repair.ts'
import { StoredFiles } from '../services/cache/stored-files.ts'
import { verifyCache } from '../services/cache/verify.ts'
import type { Verified } from '../services/cache/verify.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import type { Metadata } from '../services/torrent/metadata.ts'
import { Usage, command, configuration, shownPath, stderrLog } from './command.ts'
import { Progress } from './progress.ts'

const usage = `\
Usage: npm run verify [-- [--fix] [INFOHASH...]]

Hashes the files of the cache (all, or those of these torrents) whose metadata is known, also while the server runs,
and lists what is corrupt.

  --fix    wrong pieces of downloads are dropped, and fetched again when the file is asked for. Done by the server when
           one runs, as soon as nobody streams the torrent. Files that people placed are never changed.

Exit code: 0, or 1 when something is corrupt and was not fixed.
`

const labels = { good: 'good    ', corrupt: 'corrupt ', other: 'other   ', unknown: 'unknown ' } as const

/** How long a running server is waited for. */
const serverLimitMs = 30_000

await command(usage, async (signal) => {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { fix: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } } })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const infohashes = positionals.length === 0 ? null : new Set(positionals.map(infohashOf))
  const { TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: mediaPaths, CACHE_READ_ONLY: isReadOnly } = configuration()
  if (isReadOnly && values.fix) throw new Error('CACHE_READ_ONLY=true forbids to write to the download directory: run this without it')
  const progress = new Progress()
  const counts = { good: 0, corrupt: 0, other: 0, unknown: 0 }
  let fixed = 0
  const results = verifyCache({
    directory,
    mediaPaths,
    infohashes,
    isReadOnly,
    signal,
    log: stderrLog,
    onFile: (path, lengthBytes) => { progress.begin('hashing', path, lengthBytes) },
    onBytes: (bytes) => { progress.advance(bytes) }
  })
  for await (const result of results) {
    progress.clear()
    counts[result.outcome]++
    process.stdout.write(`${labels[result.outcome]} ${shownPath(result.file.path)}: ${result.detail}\n`)
    if (values.fix && (result.outcome === 'corrupt' || result.outcome === 'other') && await fix(result, directory, signal)) fixed++
  }
  const { good, corrupt, other, unknown } = counts
  process.stdout.write(`${good} good, ${corrupt} corrupt${fixed > 0 ? ` (${fixed} fixed)` : ''}, ${other} of no torrent file, ${unknown} not checked\n`)
  return corrupt + other - fixed > 0 ? 1 : 0
})

async function fix ({ file, check, metadata, fileIndex }: Verified, directory: string, signal: AbortSignal): Promise<boolean> {
  if (!file.isStored || check === null || metadata === null || fileIndex === null) {
    process.stdout.write('         placed by a person, so it is left alone: replace it, or delete it to have it downloaded\n')
    return false
  }
  const { inode, mtimeNs } = check.identity
  const repair: Repair = { infohash: file.infohash, fileIndex, inode: String(inode), mtimeNs: String(mtimeNs), goodPieces: check.good }
  const outcome = await repairHere(repair, directory, metadata) ?? await repairByServer(repair, directory, file.path, signal)
  process.stdout.write(`         ${outcome === 'fixed' ? 'fixed: wrong pieces are fetched again when the file is asked for' : outcome}\n`)
  return outcome === 'fixed'
}

/** null: a server has the directory. */
async function repairHere (repair: Repair, directory: string, metadata: Metadata): Promise<string | null> {
  const lock = await lockDirectory(directory).catch((error: unknown) => {
    if (error instanceof DirectoryInUse) return null
    throw error
  })
  if (lock === null) return null
  try {
    const stored = await StoredFiles.open({ directory, log: stderrLog })
    const isDone = await repairStored(repair, { directory, stored, metadata })
    await stored.close()
    return isDone ? 'fixed' : 'not fixed: the file was replaced meanwhile'
  } finally {
    await lock.release()
  }
}

async function repairByServer (repair: Repair, directory: string, path: string, signal: AbortSignal): Promise<string> {
  const isDone = await requestRepair(directory, repair)
  for (let waitedMs = 0; waitedMs < serverLimitMs; waitedMs += 200) {
    if (await isDone()) {
      const left = await stat(path, { bigint: true }).catch(() => null)
      return String(left?.mtimeNs) === repair.mtimeNs ? 'not fixed: the log of the server says why' : 'fixed'
    }
    await sleep(200, undefined, { signal })
  }
  return 'left to the server: it does so when nobody streams the torrent any more'
}

function infohashOf (text: string): string {
  const infohash = parseInfohash(text)
  if (infohash === null) throw new Usage(`${text} is not an infohash: 40 hex digits, or 32 base32 characters`)
  return infohash
}
