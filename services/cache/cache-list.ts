import { realpath } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { nothing, usageOf } from './disk-usage.ts'
import { stateFolder } from './stored-files.ts'
import type { DiskLedger } from './disk-ledger.ts'
import type { Accounting } from './disk-usage.ts'
import type { LastUse } from './last-use.ts'
import type { StoredFiles } from './stored-files.ts'

/** `stored`: finished by the server; `partial`: what it has of a torrent beside finished files; `placed`: by a person. */
export type CacheKind = 'stored' | 'partial' | 'placed'

export interface CacheEntry {
  readonly infohash: string
  /** null: all that is unfinished of a torrent, or nobody knows which of its files it is. */
  readonly fileIndex: number | null
  readonly kind: CacheKind
  readonly name: string | null
  /** Relative to the download directory, or absolute for what lies elsewhere. */
  readonly path: string
  /** By the accounting. */
  readonly countedBytes: number
  /** Milliseconds since 1970; null: never, as far as anybody knows. */
  readonly lastStreamedAt: number | null
  readonly isPinned: boolean
  readonly isStreaming: boolean
  readonly isVerified: boolean
  /** A placed file whose bytes are not those of the torrent that it is named by. */
  readonly isMismatch: boolean
}

export interface CacheListOptions {
  readonly directory: string
  readonly accounting: Accounting
  readonly stored: StoredFiles
  readonly lastUse: LastUse
  readonly nameOf: (infohash: string) => Promise<string | null>
}

/** Everything in the cache, the least recently streamed first, as the ledger measured it last. */
export async function listCache (ledger: DiskLedger, { directory, accounting, stored, lastUse, nameOf }: CacheListOptions): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = []
  const add = (infohash: string, fileIndex: number | null, rest: Pick<CacheEntry, 'kind' | 'name' | 'path' | 'countedBytes' | 'isVerified' | 'isMismatch'>): void => {
    const index = fileIndex ?? undefined
    entries.push({
      infohash,
      fileIndex,
      ...rest,
      lastStreamedAt: lastUse.at(infohash, index),
      isPinned: lastUse.isPinned(infohash),
      isStreaming: lastUse.isStreaming(infohash, index)
    })
  }
  for (const { infohash, fileIndex, name, path } of stored.list()) {
    add(infohash, fileIndex, { kind: 'stored', name, path, countedBytes: ledger.find(infohash)?.fileBytes(fileIndex) ?? 0, isVerified: true, isMismatch: false })
  }
  const finished = ledger.storedIndexes()
  for (const [infohash, holding] of [...ledger.holdings()]) {
    const files = finished.get(infohash) ?? new Set()
    if (!holding.isPartial(files)) continue
    add(infohash, null, { kind: 'partial', name: await nameOf(infohash), path: join(stateFolder, 'partial', infohash), countedBytes: holding.partialBytes(files), isVerified: true, isMismatch: false })
  }
  const root = await realpath(directory).catch(() => directory)
  for (const { infohash, fileIndex, name, path, isVerified, isMismatch = false } of await ledger.listPlaced()) {
    const { countedBytes } = await usageOf(path, accounting).catch(() => nothing)
    add(infohash, fileIndex, { kind: 'placed', name, path: path.startsWith(root + sep) ? relative(root, path) : path, countedBytes, isVerified, isMismatch })
  }
  return entries.sort((a, b) => (a.lastStreamedAt ?? 0) - (b.lastStreamedAt ?? 0))
}
