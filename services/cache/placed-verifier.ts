import { readdir } from 'node:fs/promises'
import { join } from 'node:path'

import { pause } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { formatBytes } from '../format.ts'
import type { Log } from '../log.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { CachedFile } from './cache-index.ts'
import { checkFile } from './check-file.ts'
import { candidatesFor } from './import-sources.ts'
import type { PlacedVerdicts } from './placed-verdicts.ts'
import { stateFolder } from './stored-files.ts'

export interface PlacedVerifierOptions {
  /** The download directory. */
  readonly directory: string
  /** Everything that is cached. */
  readonly list: (signal: AbortSignal) => Promise<readonly CachedFile[]>
  readonly metadataOf: (infohash: string) => Promise<Metadata | null>
  readonly verdicts: PlacedVerdicts
  readonly log: Log
  /** Most that is read in a second: streams come first. */
  readonly bytesPerSecond?: number
  /** Time between the end of one look and the next. */
  readonly intervalMs?: number
  /** Time before the first look: a start has better things to do. */
  readonly delayMs?: number
}

/**
 * Hashes the files that people placed, once their torrent's metadata is on disk: one at a time, slowly, in the background.
 * What comes out is kept (placed-verdicts.ts), so each file is hashed once, and again when it was written to.
 */
export class PlacedVerifier {
  readonly #options: PlacedVerifierOptions
  readonly #bytesPerSecond: number
  readonly #stop = new AbortController()
  #timer: NodeJS.Timeout | undefined
  #looking: Promise<void> = Promise.resolve()
  /** When what was read so far is within the rate, on the clock of performance.now(). */
  #dueAt = 0

  constructor (options: PlacedVerifierOptions) {
    this.#options = options
    this.#bytesPerSecond = options.bytesPerSecond ?? 50_000_000
  }

  start (): void {
    this.#schedule(this.#options.delayMs ?? 5000)
  }

  /** Ends the look under way at its next slice. */
  async close (): Promise<void> {
    this.#stop.abort(new CodedError('SHUTTING_DOWN', 'the server is shutting down'))
    clearTimeout(this.#timer)
    await this.#looking
  }

  /** Goes through all placed files once. Never rejects. */
  async look (): Promise<void> {
    const { signal } = this.#stop
    try {
      const known = await this.#infohashesWithMetadata()
      if (known.size === 0) return
      const files = (await this.#options.list(signal)).filter(({ infohash }) => known.has(infohash))
      for (const file of files) {
        if (file.isStored || file.isVerified || file.isMismatch) continue
        await this.#verify(file, files.filter(({ infohash }) => infohash === file.infohash))
      }
    } catch (error) {
      if (!signal.aborted) this.#options.log.warn({ err: error }, 'placed files could not be looked through; that is tried again')
    }
  }

  #schedule (delayMs: number): void {
    this.#timer = setTimeout(() => {
      this.#looking = this.look().finally(() => {
        if (!this.#stop.signal.aborted) this.#schedule(this.#options.intervalMs ?? 120_000)
      })
    }, delayMs)
    this.#timer.unref()
  }

  async #verify (file: CachedFile, all: readonly CachedFile[]): Promise<void> {
    const { log, metadataOf } = this.#options
    const { infohash, path } = file
    try {
      const metadata = await metadataOf(infohash)
      if (metadata === null) return
      await this.#hash(file, metadata, new Map(all.flatMap((other) => other.fileIndex === null ? [] : [[other.fileIndex, other.path] as const])))
    } catch (error) {
      this.#stop.signal.throwIfAborted()
      // Files come, go and grow while they are read: the next look finds them as they are then.
      log.debug({ infohash, path, err: error }, 'placed file could not be hashed')
    }
  }

  async #hash (file: CachedFile, metadata: Metadata, others: ReadonlyMap<number, string>): Promise<void> {
    const { verdicts, log } = this.#options
    const { infohash, path, name, lengthBytes } = file
    const known = await verdicts.find(infohash, file.identity)
    const candidates = candidatesFor(path, lengthBytes, metadata).filter(({ index }) => known === null || index === known.fileIndex)
    let { identity } = file
    for (const { index } of candidates) {
      const check = await checkFile(path, metadata, index, {
        signal: this.#stop.signal,
        others,
        stopAtFirst: true,
        onBytes: async (bytes) => { await this.#pace(bytes) },
        // Of one that was hashed before, what could not be checked then.
        ...(known === null ? {} : { pieces: known.uncheckedPieces })
      })
      identity = check.identity
      if (check.bad.length > 0) continue
      const uncheckedPieces = [...check.unchecked, ...check.doubtful].sort((a, b) => a - b)
      if (uncheckedPieces.length === 0) {
        await verdicts.add(infohash, identity, { result: 'match', fileIndex: index, uncheckedPieces })
        log.info({ infohash, path }, `verified ${name} (${formatBytes(lengthBytes)}): it is file ${index} of its torrent`)
        return
      }
      // With nothing right in it, it may still be any file of this length.
      if (known !== null ? uncheckedPieces.length === known.uncheckedPieces.length : check.good.length === 0) return
      await verdicts.add(infohash, identity, { result: 'partial', fileIndex: index, uncheckedPieces })
      return
    }
    await verdicts.add(infohash, identity, { result: 'mismatch', fileIndex: null, uncheckedPieces: [] })
    const what = candidates.length === 0 ? `no file of its torrent has ${lengthBytes} bytes` : 'its bytes are not those of its torrent'
    log.warn({ infohash, path }, `${name} is not what its name says: ${what}; it is served as it is, unverified`)
  }

  /** Resolves when so many bytes more are within the rate. */
  async #pace (bytes: number): Promise<void> {
    const now = performance.now()
    this.#dueAt = Math.max(now, this.#dueAt) + bytes / this.#bytesPerSecond * 1000
    await pause(this.#dueAt - now, this.#stop.signal)
  }

  async #infohashesWithMetadata (): Promise<Set<string>> {
    const names = await readdir(join(this.#options.directory, stateFolder, 'torrents')).catch(() => [])
    return new Set(names.filter((name) => name.endsWith('.torrent')).map((name) => name.slice(0, -'.torrent'.length)))
  }
}
