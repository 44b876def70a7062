import { steadyClock } from '../clock.ts'
import { abortable, withTimeout } from '../deadline.ts'
import { deadlines } from '../deadlines.ts'
import { CodedError, asCoded } from '../errors.ts'
import { askAddon } from './ask-addon.ts'
import { parseManifest } from './upstream-manifest.ts'
import type { Clock } from '../clock.ts'
import type { Fetcher } from '../download/fetcher.ts'
import type { UpstreamAddon } from './ask-addon.ts'
import type { UpstreamManifest } from './upstream-manifest.ts'

export interface UpstreamManifestsOptions {
  readonly fetcher: Pick<Fetcher, 'get'>
  readonly hop: string
  readonly clock?: Clock
}

/** METADATA_INVALID: what is there is no addon. Any other code: it cannot be had now. */
export type FoundManifest = UpstreamManifest | CodedError

interface Known {
  readonly manifest: Promise<FoundManifest>
  until: number
}

const MAX_BYTES = 300_000
const GOOD_MS = 3_600_000
const BAD_MS = 30_000
const MOST = 500
const forEver = new AbortController().signal

/** The manifests of other addons: read once an hour, those that failed again after half a minute. */
export class UpstreamManifests {
  readonly #options: UpstreamManifestsOptions
  readonly #clock: Clock
  readonly #known = new Map<string, Known>()

  constructor (options: UpstreamManifestsOptions) {
    this.#options = options
    this.#clock = options.clock ?? steadyClock
  }

  /** Rejects with the signal's reason only: who waits no longer ends it for nobody else. */
  async of (addon: UpstreamAddon, hops: readonly string[], signal: AbortSignal): Promise<FoundManifest> {
    // Who may not be asked for one client may be for another.
    const key = `${addon.isTrusted} ${addon.url}`
    const before = this.#known.get(key)
    if (before !== undefined && before.until > this.#clock.now()) return await abortable(before.manifest, signal)
    const known: Known = { manifest: this.#read(addon, hops), until: Infinity }
    this.#known.delete(key)
    this.#known.set(key, known)
    const [oldest] = this.#known.keys()
    if (oldest !== undefined && this.#known.size > MOST) this.#known.delete(oldest)
    void known.manifest.then((found) => { known.until = this.#clock.now() + (found instanceof CodedError ? BAD_MS : GOOD_MS) })
    return await abortable(known.manifest, signal)
  }

  async #read (addon: UpstreamAddon, hops: readonly string[]): Promise<FoundManifest> {
    const { fetcher, hop } = this.#options
    try {
      const answer = await withTimeout(deadlines.manifestMs, () => new CodedError('HTTP_TIMEOUT', `it did not answer within ${deadlines.manifestMs / 1000} s`), forEver,
        async (signal) => await abortable(askAddon(addon, 'manifest.json', { fetcher, hop, hops, mostBytes: MAX_BYTES, signal }), signal))
      return parseManifest(answer) ?? new CodedError('METADATA_INVALID', 'what is there is no manifest of a Stremio addon')
    } catch (error) {
      return asCoded(error, 'SOURCE_FAILED')
    }
  }
}
