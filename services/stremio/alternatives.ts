import { CodedError } from '../errors.ts'
import { parseInfohash } from '../torrent/infohash.ts'
import type { StreamRequest } from '../source.ts'

export interface Opened<Walked> {
  /** What was opened: the first, or one in its place. */
  readonly wanted: StreamRequest
  readonly walked: Walked
}

export interface OpenOptions<Walked> {
  readonly open: (wanted: StreamRequest, signal: AbortSignal) => Promise<Walked>
  /** May this client play it? */
  readonly isAllowed: (infohash: string) => Promise<boolean>
  /** Each but the last has so long to deliver. */
  readonly turnMs: number
}

/** What a request says of how far its player is. */
export interface PlayerState {
  /** It has no byte of the file yet, as far as one can see. */
  readonly isStart: boolean
  /** `If-Range`: the ETag of the file that it has begun with. */
  readonly ifRange: string | undefined
}

const MAX_ALTERNATIVES = 3
/** So many choices are remembered, the latest used. */
const MAX_CHOICES = 1000

/** The torrents, each perhaps with a file, that `alt=HASH:IDX` names; what is none is left out. */
export function parseAlternatives (texts: readonly string[]): Array<Pick<StreamRequest, 'infohash' | 'fileIndex'>> {
  return texts.slice(0, 20).flatMap((text) => {
    const [, hash = '', index] = /^([0-9a-z]{32,40})(?::(\d{1,6}))?$/i.exec(text) ?? []
    const infohash = parseInfohash(hash)
    return infohash === null ? [] : [{ infohash, fileIndex: index === undefined ? null : Number(index) }]
  }).slice(0, MAX_ALTERNATIVES)
}

/**
 * Opens a torrent, or one of those that may play in its place. Only before the first byte: a player that has begun with
 * one of them gets that one and no other, or its film would go on with another's bytes.
 */
export class Alternatives {
  /** What an address was answered with. */
  readonly #chosen = new Map<string, number>()

  /** Throws what opening the last one threw, or the signal's reason. */
  async open<Walked> (candidates: readonly [StreamRequest, ...StreamRequest[]], { isStart, ifRange }: PlayerState, { open, isAllowed, turnMs }: OpenOptions<Walked>, signal: AbortSignal): Promise<Opened<Walked>> {
    const [first] = candidates
    const key = candidates.map(({ infohash, fileIndex }) => `${infohash}:${fileIndex}`).join()
    const begun = candidates.findIndex(({ infohash }) => ifRange?.startsWith(`"${infohash}-`) === true)
    const before = begun === -1 ? this.#chosen.get(key) : begun
    const own = before === undefined ? undefined : candidates[before]
    if (!isStart || begun !== -1) return { wanted: own ?? first, walked: await open(own ?? first, signal) }
    // What it was answered with comes first: the player may be asking for the beginning once more.
    const order = own === undefined ? candidates : [own, ...candidates.filter((candidate) => candidate !== own)]
    let failure: unknown = null
    for (const [i, wanted] of order.entries()) {
      if (wanted !== first && !await isAllowed(wanted.infohash)) continue
      const turn = new AbortController()
      const timer = i === order.length - 1
        ? undefined
        : setTimeout(() => { turn.abort(new CodedError('SOURCE_TIMEOUT', `nothing of ${wanted.infohash} came within ${turnMs} ms`)) }, turnMs)
      try {
        const walked = await open(wanted, AbortSignal.any([signal, turn.signal]))
        // A look at its head is no beginning.
        if (wanted.head !== null && order.length > 1) this.#remember(key, candidates.indexOf(wanted))
        return { wanted, walked }
      } catch (error) {
        signal.throwIfAborted()
        failure = error
      } finally {
        clearTimeout(timer)
      }
    }
    throw failure
  }

  #remember (key: string, index: number): void {
    this.#chosen.delete(key)
    this.#chosen.set(key, index)
    const [oldest] = this.#chosen.keys()
    if (oldest !== undefined && this.#chosen.size > MAX_CHOICES) this.#chosen.delete(oldest)
  }
}
