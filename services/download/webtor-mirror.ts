import { abortable, pause, race } from '../deadline.ts'
import { formatMagnet } from '../torrent/magnet.ts'
import { MirrorFault } from './mirror.ts'
import { WebtorRefusal } from './webtor.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { Mirror, MirrorRequest, Stretch } from './mirror.ts'
import type { Webtor, WebtorExport } from './webtor.ts'

export interface WebtorMirrorOptions {
  readonly webtor: Webtor
  readonly metadata: Metadata
  /** Beside those of the torrent. */
  readonly trackers: readonly string[]
  /** Aborts when the torrent is let go: what is still asked of the API ends then. */
  readonly closing: AbortSignal
  /** When the API has not found the metadata of a magnet by then, it gets ours. */
  readonly patienceMs?: number
  /** A clock in milliseconds that never goes back. */
  readonly now?: () => number
}

interface Exported {
  readonly promise: Promise<WebtorExport>
  /** Null while it is asked for. */
  url: URL | null
  expiresAt: number
}

const PATIENCE_MS = 3000
const LONGEST_MS = 3_600_000
/** An address is not begun with so shortly before its token ends; and however soon that is, it is tried. */
const MARGIN_MS = 30_000
const SHORTEST_MS = 5000
const MAX_TRACKERS = 20

/**
 * The files of a torrent as WebTor.io gives them out: the API is handed the magnet and asked for an address of each file
 * that is wanted, once for all connections. A private torrent is told to nobody (BEP 27): none.
 */
export function webtorMirrors (options: WebtorMirrorOptions): Mirror[] {
  return options.metadata.isPrivate ? [] : [new WebtorMirror(options)]
}

class WebtorMirror implements Mirror {
  readonly name: string
  readonly #options: WebtorMirrorOptions
  readonly #exports = new Map<number, Exported>()
  readonly #now: () => number
  #adding: Promise<string> | null = null

  constructor (options: WebtorMirrorOptions) {
    this.#options = options
    this.#now = options.now ?? (() => performance.now())
    this.name = options.webtor.name
  }

  mayHave ({ isPadding }: TorrentFile): boolean {
    return !isPadding
  }

  async request ({ file, start, end }: Stretch, signal: AbortSignal): Promise<MirrorRequest> {
    try {
      const { url, isTrusted } = await abortable(this.#exported(file), signal)
      return { url, isTrusted, headers: { range: `bytes=${start}-${end}` }, end, reply: 'range' }
    } catch (error) {
      throw error instanceof WebtorRefusal ? new MirrorFault(error.verdict, file) : error
    }
  }

  renew ({ index }: TorrentFile, refused: URL): boolean {
    if (this.#exports.get(index)?.url?.href === refused.href) this.#exports.delete(index)
    return true
  }

  #exported (file: TorrentFile): Promise<WebtorExport> {
    const known = this.#exports.get(file.index)
    if (known !== undefined && this.#now() < known.expiresAt) return known.promise
    const promise = this.#export(file)
    const exported: Exported = { promise, url: null, expiresAt: Infinity }
    this.#exports.set(file.index, exported)
    promise.then(({ url, expiresAt }) => {
      const lifeMs = expiresAt === null ? LONGEST_MS : expiresAt - Date.now() - MARGIN_MS
      exported.url = url
      exported.expiresAt = this.#now() + Math.max(SHORTEST_MS, Math.min(lifeMs, LONGEST_MS))
    }, () => {
      if (this.#exports.get(file.index) === exported) this.#exports.delete(file.index)
    })
    return promise
  }

  async #export (file: TorrentFile): Promise<WebtorExport> {
    const { webtor, closing } = this.#options
    const id = await this.#add()
    const byIndex = await webtor.export(id, String(file.index), closing)
    if (byIndex !== null && (byIndex.item.size ?? file.lengthBytes) === file.lengthBytes) return byIndex
    const contentId = await this.#contentIdOf(id, file)
    const byId = contentId === null ? null : await webtor.export(id, contentId, closing)
    if (byId === null) throw new WebtorRefusal({ kind: 'not-here', why: `it has no file "${file.name}" of ${file.lengthBytes} bytes` })
    return byId
  }

  /** What an API that knows no numbers calls the file: the item of its path, or else of its number or its size alone. */
  async #contentIdOf (id: string, file: TorrentFile): Promise<string | null> {
    const { webtor, metadata, closing } = this.#options
    const path = metadata.isMultiFile ? `/${metadata.name}/${file.path}` : `/${metadata.name}`
    let numbered: string | null = null
    const alike: string[] = []
    for await (const item of webtor.list(id, closing)) {
      if (!item.isFile || item.id === null || item.size !== file.lengthBytes) continue
      if (item.path === path) return item.id
      if (item.index === file.index) numbered = item.id
      alike.push(item.id)
    }
    return numbered ?? (alike.length === 1 ? alike[0] ?? null : null)
  }

  /** Each export adds the torrent anew: a server forgets, and for one that has not it costs nothing. */
  async #add (): Promise<string> {
    this.#adding ??= this.#addOnce().finally(() => { this.#adding = null })
    return await this.#adding
  }

  async #addOnce (): Promise<string> {
    const { webtor, metadata, trackers, closing, patienceMs = PATIENCE_MS } = this.#options
    const magnet = formatMagnet({ infohash: metadata.infohash, name: metadata.name, trackers: [...new Set([...metadata.trackers, ...trackers])].slice(0, MAX_TRACKERS) })
    const id = await race(closing,
      async (signal) => await webtor.add(magnet, signal),
      async (signal) => {
        await pause(patienceMs, signal)
        try {
          return await webtor.add(metadata.torrent, signal)
        } catch {
          return await never(signal) // what the magnet comes to decides
        }
      }
    )
    if (id !== metadata.infohash) throw new WebtorRefusal({ kind: 'failed', why: 'it answers for another torrent', isBusy: false, retryAfterMs: 0 })
    return id
  }
}

async function never (signal: AbortSignal): Promise<never> {
  return await abortable(new Promise<never>(() => {}), signal)
}
