import { formatBytes, withoutSecrets } from '../format.ts'
import { Speed } from './speed.ts'
import type { Log } from '../log.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { DownloadProgress } from '../pieces/filler.ts'
import type { PieceStore } from '../pieces/piece-store.ts'

export interface DownloadJournalOptions {
  readonly metadata: Metadata
  readonly store: Pick<PieceStore, 'layout' | 'verifiedBytesOf'>
  readonly log: Log
  readonly progressIntervalMs?: number
}

/** Counts what a download receives, and says the `[Hybrid]` lines that people look for. */
export class DownloadJournal {
  readonly #options: DownloadJournalOptions
  readonly #intervalMs: number
  readonly #speed = new Speed()
  readonly #announced = new Set<string>()
  #saidAt = performance.now()
  #receivedBytes = 0

  constructor (options: DownloadJournalOptions) {
    this.#options = options
    this.#intervalMs = options.progressIntervalMs ?? 5000
  }

  get receivedBytes (): number { return this.#receivedBytes }
  get bytesPerSecond (): number { return this.#speed.bytesPerSecond }

  progress (mirrors: readonly string[]): DownloadProgress {
    const { metadata, store } = this.#options
    let verifiedBytes = 0
    let totalBytes = 0
    for (const [fileIndex] of store.layout.files) {
      verifiedBytes += store.verifiedBytesOf(fileIndex)
      totalBytes += metadata.files[fileIndex]?.lengthBytes ?? 0
    }
    const bytesPerSecond = this.#speed.bytesPerSecond
    const secondsLeft = verifiedBytes === totalBytes ? 0 : bytesPerSecond > 0 ? Math.ceil((totalBytes - verifiedBytes) / bytesPerSecond) : null
    return { verifiedBytes, totalBytes, bytesPerSecond, secondsLeft, mirrors }
  }

  /** Bytes came. Says how far it is when it has not for a while. */
  received (bytes: number): void {
    this.#receivedBytes += bytes
    this.#speed.add(bytes)
    const now = performance.now()
    if (now - this.#saidAt < this.#intervalMs) return
    this.#saidAt = now
    const { verifiedBytes, totalBytes, bytesPerSecond } = this.progress([])
    const percent = (totalBytes === 0 ? 0 : verifiedBytes / totalBytes * 100).toFixed(1)
    this.#say(`Progress: ${percent}% (${formatBytes(verifiedBytes)}/${formatBytes(totalBytes)}) @ ${formatBytes(bytesPerSecond)}/s`)
  }

  /** A mirror is asked: told once for each. */
  asked (mirror: string, url: URL): void {
    if (this.#announced.has(mirror)) return
    const isFirst = this.#announced.size === 0
    this.#announced.add(mirror)
    this.#say(`Downloading from ${mirror}...`)
    this.#say(`URL: ${withoutSecrets(url)}`)
    if (isFirst) this.#say(`Size: ${formatBytes(this.progress([]).totalBytes || this.#options.metadata.lengthBytes)}`)
  }

  finished (fileIndex: number): void {
    this.#say(`Download complete: ${formatBytes(this.#options.metadata.files[fileIndex]?.lengthBytes ?? 0)}`)
  }

  /** We coped with something. */
  warn (message: string, fields: object = {}): void {
    this.#options.log.warn({ infohash: this.#options.metadata.infohash, ...fields }, `[Hybrid] ${message}`)
  }

  #say (line: string): void {
    this.#options.log.info({ infohash: this.#options.metadata.infohash }, `[Hybrid] ${line}`)
  }
}
