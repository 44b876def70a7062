import { readFile } from 'node:fs/promises'
import { parseInfohash } from '../torrent/infohash.ts'
import { stampOf } from '../swarm/blocklist.ts'
import type { Log } from '../log.ts'

const REFRESH_MS = 5000

/** Torrents that this server does not touch, by a file with an infohash or magnet link in each line. */
export class InfohashBlocklist {
  readonly #path: string
  readonly #log: Log
  #infohashes: ReadonlySet<string> = new Set()
  #stamp = ''
  #timer: NodeJS.Timeout | undefined

  private constructor (path: string, log: Log) {
    this.#path = path
    this.#log = log
  }

  /** Reads the file, and again whenever it changes, until `close`. Throws where it cannot be read. */
  static async open (path: string, log: Log): Promise<InfohashBlocklist> {
    const list = new InfohashBlocklist(path, log)
    await list.#read().catch((error: unknown) => { throw new Error(`INFOHASH_BLOCKLIST ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error }) })
    list.#timer = setInterval(() => { void list.refresh() }, REFRESH_MS)
    list.#timer.unref()
    return list
  }

  get size (): number { return this.#infohashes.size }

  has (infohash: string): boolean {
    return this.#infohashes.has(infohash)
  }

  /** Reads the file if it has changed. Never fails: one that cannot be read any more leaves what it said. */
  async refresh (): Promise<void> {
    try {
      if (await stampOf(this.#path) !== this.#stamp) await this.#read()
    } catch (error) {
      this.#log.warn({ err: error, path: this.#path }, 'the list of blocked infohashes cannot be read: what it said before counts')
    }
  }

  close (): void {
    clearInterval(this.#timer)
  }

  async #read (): Promise<void> {
    // Before it is read: what changes meanwhile is read again.
    const stamp = await stampOf(this.#path)
    this.#stamp = stamp
    const { infohashes, badLines } = parseBlocklist(await readFile(this.#path, 'utf8'))
    this.#infohashes = infohashes
    if (badLines.length > 0) this.#log.warn({ path: this.#path, lines: badLines.slice(0, 10) }, `${badLines.length} lines of the list of blocked infohashes name none`)
    this.#log.info({ path: this.#path }, `${infohashes.size} infohashes are blocked`)
  }
}

/** What the lines name; lines that name nothing are numbered from 1. Empty ones, and what begins with `#` or `;`, are left out; so is what stands behind a name. */
export function parseBlocklist (text: string): { readonly infohashes: Set<string>, readonly badLines: readonly number[] } {
  const infohashes = new Set<string>()
  const badLines: number[] = []
  for (const [index, line] of text.replace(/^\uFEFF/, '').split(/\r?\n/).entries()) {
    const [first = ''] = line.trim().split(/[\s,;#]/)
    if (first === '') continue
    const [, inMagnet] = /^magnet:\?.*?\bxt=urn:btih:([^&]+)/i.exec(first) ?? []
    const infohash = parseInfohash(inMagnet ?? first)
    if (infohash === null) badLines.push(index + 1)
    else infohashes.add(infohash)
  }
  return { infohashes, badLines }
}
