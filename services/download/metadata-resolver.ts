import { abortable } from '../deadline.ts'
import { asCoded, CodedError } from '../errors.ts'
import { LookupMemory } from './lookup-memory.ts'
import { exactWays, templateWays, webtorWay } from './metadata-ways.ts'
import { ServerBusy } from './torrent-get.ts'
import { deadlines } from '../deadlines.ts'
import type { ReasonCode } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Fetcher } from './fetcher.ts'
import type { MetadataWay } from './metadata-ways.ts'
import type { WebtorAccess } from './webtor.ts'

export interface MetadataResolverOptions {
  readonly fetcher: Fetcher
  /** TORRENT_METADATA_URLS. Nobody else but the WebTor and a magnet's own sources is asked. */
  readonly templates: readonly string[]
  readonly webtor?: WebtorAccess | null
  readonly log: Log
  /** For each request, redirects and body included. */
  readonly timeoutMs?: number
  /** A clock in milliseconds that never goes back. */
  readonly now?: () => number
}

export interface Wanted {
  /** 40 lower-case hex digits. */
  readonly infohash: string
  /** URLs of this `.torrent` that a stranger named. */
  readonly exactSources?: readonly string[]
}

/** A way that failed, for people: `itorrents.org: status 404`. */
interface Outcome {
  readonly error: CodedError
  readonly said: string
}

const MISS_MS = 600_000
/** A server that was down or silent: so soon it is asked again. */
const TROUBLE_MS = 30_000
const MEMORY_LIMIT = 5000
/** A magnet may name many; all are asked at once. */
const MAX_EXACT_SOURCES = 10
/** The server's last word on this torrent, as long as we remember it. Anything else may be better the next time. */
const MISSES: ReadonlySet<ReasonCode> = new Set<ReasonCode>(['METADATA_NOT_FOUND', 'METADATA_INVALID', 'METADATA_MISMATCH', 'METADATA_V2_ONLY', 'ADDRESS_REFUSED'])

/**
 * Finds the `.torrent` of an infohash over HTTP: all ways at once, the first answer that hashes to the infohash wins, the
 * others are cancelled. Remembers who does not have it, for ten minutes, and who was in trouble, for half a minute or as
 * long as they say.
 */
export class MetadataResolver {
  readonly #options: MetadataResolverOptions
  readonly #failures: LookupMemory

  constructor (options: MetadataResolverOptions) {
    this.#options = options
    this.#failures = new LookupMemory(MEMORY_LIMIT, options.now)
  }

  /**
   * The metadata, checked against the infohash. Throws METADATA_NOT_FOUND with what each way said, at once where all of
   * it is remembered; METADATA_V2_ONLY; or the signal's reason.
   */
  async resolve ({ infohash, exactSources = [] }: Wanted, signal: AbortSignal): Promise<Metadata> {
    signal.throwIfAborted()
    const { log, templates, webtor } = this.#options
    const ways = [
      ...templateWays(templates, infohash), ...(webtor == null ? [] : webtorWay(webtor)), ...exactWays(exactSources.slice(0, MAX_EXACT_SOURCES))
    ]
    if (ways.length === 0) throw new CodedError('METADATA_NOT_FOUND', 'nobody is asked for .torrent files (TORRENT_METADATA_URLS)')
    const outcomes: Outcome[] = []
    const open = ways.filter((way) => {
      const outcome = this.#remembered(infohash, way)
      if (outcome !== null) outcomes.push(outcome)
      return outcome === null
    })
    if (open.length > 0) {
      log.info({ infohash, from: open.map(({ name }) => name) }, '[Hybrid] Step 1: Downloading .torrent file...')
      const found = await this.#first(open, infohash, outcomes, signal)
      if (found !== null) return found
    }
    const v2 = outcomes.find(({ error }) => error.code === 'METADATA_V2_ONLY')
    if (v2 !== undefined) throw v2.error
    throw new CodedError('METADATA_NOT_FOUND', `no .torrent to be had (${outcomes.map(({ said }) => said).join('; ')})`)
  }

  /** Forgets who does not have this torrent: the next time everybody is asked again. */
  forget (infohash: string): void {
    this.#failures.forget(`${infohash} `)
  }

  /** The first way's metadata; null when all have failed, why is in `outcomes` then. */
  async #first (ways: readonly MetadataWay[], infohash: string, outcomes: Outcome[], signal: AbortSignal): Promise<Metadata | null> {
    const { fetcher, log, timeoutMs = deadlines.metadataMs } = this.#options
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    const ask = async (way: MetadataWay): Promise<Metadata> => {
      try {
        const metadata = await way.ask(infohash, { fetcher, signal: both, timeoutMs })
        if (!both.aborted) log.info({ infohash, from: way.name }, `[Hybrid] Downloaded .torrent (${metadata.torrent.length} bytes)`)
        stop.abort()
        return metadata
      } catch (error) {
        if (!both.aborted) outcomes.push(this.#remember(infohash, way, asCoded(error, 'SOURCE_FAILED')))
        throw error
      }
    }
    try {
      return await abortable(Promise.any(ways.map(ask)), signal)
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof AggregateError) return null
      throw error
    } finally {
      stop.abort()
    }
  }

  #remembered (infohash: string, { id, name, origin }: MetadataWay): Outcome | null {
    const known = this.#failures.recall(`${infohash} ${id}`) ?? this.#failures.recall(origin)
    return known === null ? null : { error: known.error, said: `${saidBy(name, known.error)}, ${Math.round(known.ageMs / 1000)} s ago` }
  }

  #remember (infohash: string, { id, name, origin }: MetadataWay, error: CodedError): Outcome {
    this.#options.log.debug({ infohash, from: name, code: error.code }, `no .torrent: ${error.message}`)
    if (error instanceof ServerBusy) this.#failures.remember(origin, error, error.retryAfterMs)
    else this.#failures.remember(`${infohash} ${id}`, error, MISSES.has(error.code) ? MISS_MS : TROUBLE_MS)
    return { error, said: saidBy(name, error) }
  }
}

function saidBy (name: string, { message }: CodedError): string {
  return `${name}: ${message.replace(`${name}: `, '')}`
}
