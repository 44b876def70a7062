import type { EventBus } from '../events.ts'
import type { Log } from '../log.ts'
import type { TorrentList } from './torrent-list.ts'
import type { Torrents } from './torrents.ts'

export interface TorrentWatchOptions {
  readonly torrents: Torrents
  readonly torrentList: TorrentList
  readonly events: EventBus
  /** Does anybody want to know? While nobody does, nothing is looked at. */
  readonly isFollowed: () => boolean
  readonly log: Log
}

const INTERVAL_MS = 1000
/** After news of a torrent, so that all that comes at once is told together. */
const SOON_MS = 50

/**
 * Looks at the torrents that run, and those of which there was news, and tells `progress` of each that is not as it was:
 * at most once a second, but for news.
 */
export class TorrentWatch {
  readonly #options: TorrentWatchOptions
  readonly #timer: NodeJS.Timeout
  readonly #unlisten: () => void
  /** What was told last of each, as JSON. */
  readonly #told = new Map<string, string>()
  readonly #news = new Set<string>()
  /** Removed since they were looked at: what was seen of them is of the past. */
  readonly #removed = new Set<string>()
  #soon: NodeJS.Timeout | undefined
  #looking: Promise<void> | null = null

  constructor (options: TorrentWatchOptions) {
    this.#options = options
    this.#timer = setInterval(() => { this.#look() }, INTERVAL_MS)
    this.#timer.unref()
    this.#unlisten = options.events.listen((event) => {
      if (event.type === 'removed') {
        this.#told.delete(event.infohash)
        if (this.#looking !== null) this.#removed.add(event.infohash)
      }
      // What was removed may be on the list still: as a file that a person placed.
      if (event.type !== 'removed' && event.type !== 'added' && event.type !== 'started' && event.type !== 'refused' && event.type !== 'cache' && event.type !== 'end') return
      if (!options.isFollowed()) return
      this.#news.add(event.infohash)
      this.#soon ??= setTimeout(() => {
        this.#soon = undefined
        this.#look()
      }, SOON_MS).unref()
    })
  }

  async close (): Promise<void> {
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    this.#unlisten()
    await this.#looking
  }

  #look (): void {
    if (!this.#options.isFollowed()) return
    this.#looking ??= this.#compare().catch((error: unknown) => {
      this.#options.log.warn({ err: error }, 'the torrents could not be looked at for events')
    }).finally(() => { this.#looking = null })
  }

  async #compare (): Promise<void> {
    const { torrents, torrentList, events } = this.#options
    const running = torrents.list().map(({ infohash }) => infohash)
    const infohashes = new Set([...this.#told.keys(), ...running, ...this.#news, ...torrentList.takeChanged()])
    this.#news.clear()
    this.#removed.clear()
    for (const infohash of infohashes) {
      this.#removed.delete(infohash)
      const torrent = await torrentList.status(infohash)
      if (this.#removed.has(infohash)) continue
      if (torrent === null || !torrentList.isListed(torrent)) {
        if (this.#told.delete(infohash)) events.emit({ type: 'removed', infohash })
        continue
      }
      const told = JSON.stringify(torrent)
      if (this.#told.get(infohash) !== told) events.emit({ type: 'progress', infohash, torrent })
      // One that does not run changes only with news.
      if (torrents.get(infohash) === null) this.#told.delete(infohash)
      else this.#told.set(infohash, told)
    }
  }
}
