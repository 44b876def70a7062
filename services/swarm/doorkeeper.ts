import type WebTorrent from 'webtorrent'
import { Bans, splitAddress } from './bans.ts'
import type { PeerIdentity } from './bans.ts'
import { Blocklist, stampOf } from './blocklist.ts'
import { guardIncoming } from './internals/connections.ts'

export interface DoorkeeperOptions {
  readonly tell: (level: 'info' | 'warn', fields: object, message: string) => void
  /** Somebody is refused now who was not before. */
  readonly onChange: () => void
}

/** How often the file of the blocklist is looked at. */
const lookMs = 5_000

/** Whom the swarm has nothing to do with, over all torrents, whoever of the two begins: liars, and the operator's blocklist. */
export class Doorkeeper {
  readonly bans = new Bans()
  readonly #options: DoorkeeperOptions
  #blocklist = Blocklist.empty
  #stamp = ''
  #isReading = false

  constructor (options: DoorkeeperOptions) {
    this.#options = options
  }

  /** Reads the blocklist, if there is to be one, and reads it again when it changes. Throws where it cannot be read at first; later the last one stays. */
  async useBlocklist (path: string | null): Promise<boolean> {
    if (path === null) return false
    await this.#read(path)
    setInterval(() => {
      this.#readAgain(path).catch((error: unknown) => {
        this.#options.tell('warn', { path, err: error instanceof Error ? error.message : String(error) }, 'the blocklist cannot be read: the last one stays')
      })
    }, lookMs).unref()
    return true
  }

  /** From now on who is refused does not get in. Call it after 'listening'. */
  guard (client: WebTorrent): void {
    guardIncoming(client, this.isRefused)
  }

  /** Is this `ip:port` or `[ip]:port` refused? What is no address is not. */
  readonly isRefused = (address: string): boolean => {
    const at = splitAddress(address)
    return at !== null && (this.bans.isRefused(at.ip, at.port) || this.#blocklist.has(at.ip))
  }

  async #readAgain (path: string): Promise<void> {
    if (this.#isReading || await stampOf(path) === this.#stamp) return
    await this.#read(path)
    this.#options.onChange()
  }

  async #read (path: string): Promise<void> {
    this.#isReading = true
    // Taken before: what changes meanwhile is read once more.
    const stamp = await stampOf(path)
    this.#stamp = stamp
    try {
      this.#blocklist = await Blocklist.read(path)
    } finally {
      this.#isReading = false
    }
    const { rangeCount, badLines, firstBadLine } = this.#blocklist
    if (badLines === 0) this.#options.tell('info', { path, ranges: rangeCount }, 'the blocklist is read')
    else this.#options.tell('warn', { path, ranges: rangeCount, badLines, firstBadLine }, `the blocklist is read but for ${badLines} lines that name no address`)
  }
}

/** What the log says of a lie. */
export function tellLie ({ ip, port }: PeerIdentity, infohash: string, piece: number, isBanned: boolean): { readonly fields: object, readonly message: string } {
  return { fields: { infohash, peer: `${ip}:${port}`, piece }, message: isBanned ? 'a peer is banned: it has sent wrong data again' : 'a peer has sent wrong data' }
}
