import type { Torrent, Wire } from 'webtorrent'
import { splitAddress } from './bans.ts'
import type { Bans, PeerIdentity } from './bans.ts'
import { askAgain, askedFor, judgeBlocks, onRefused, releaseRequests } from './internals/blocks.ts'
import { dropPeers, guardRedials } from './internals/connections.ts'
import { cancelRequests } from './internals/pieces.ts'
import { onBytes, probePeer } from './internals/wires.ts'
import { Liars } from './liars.ts'
import { Shirkers } from './shirkers.ts'

export interface PeerJudgeOptions {
  /** Over all torrents. */
  readonly bans: Bans
  /** Is this `ip:port` refused, whoever it is? */
  readonly isRefused: (address: string) => boolean
  /** The bytes of a verified piece; null: they cannot be had. */
  readonly readPiece: (piece: number) => Promise<Uint8Array | null>
  /** A wrong piece of this peer is proven. */
  readonly onLie: (who: PeerIdentity, piece: number, isBanned: boolean) => void
}

const watchMs = 1_000

/** Who of a torrent's peers is asked for what, and who is not spoken with at all. */
export class PeerJudge {
  readonly #torrent: Torrent
  readonly #options: PeerJudgeOptions
  readonly #liars: Liars<Wire>
  readonly #shirkers: Shirkers<Wire>
  readonly #timer: NodeJS.Timeout

  /** To be made right after the torrent was added. */
  constructor (torrent: Torrent, options: PeerJudgeOptions) {
    this.#torrent = torrent
    this.#options = options
    this.#liars = new Liars({
      bans: options.bans,
      pieceLength: () => torrent.pieceLength,
      identityOf,
      askedFor: (piece) => askedFor(torrent, piece),
      wires: () => torrent.wires,
      isWaitedFor: (piece) => torrent._critical[piece] === true,
      isAtWork: (wire, piece) => this.#shirkers.isAtWork(wire, piece),
      readPiece: options.readPiece,
      onLie: options.onLie
    })
    this.#shirkers = new Shirkers({
      wires: () => torrent.wires,
      release: (wire) => { releaseRequests(torrent, wire) },
      probe: probePeer,
      isWaitedFor: (wire) => wire.requests.some(({ piece }) => torrent._critical[piece] === true),
      hangUp: (wire) => { wire.destroy() },
      askAnew: (wire) => { cancelRequests(wire, () => true) },
      onUseless: (wire) => {
        const who = identityOf(wire)
        if (who !== null) options.bans.setAside(who)
        wire.destroy()
      }
    })
    judgeBlocks(torrent, {
      mayAsk: (wire, piece) => this.#shirkers.mayAsk(wire, piece) && this.#liars.mayAsk(wire, piece),
      onRight: (assembled) => { this.#liars.onRight(assembled) },
      onWrong: (assembled) => { this.#liars.onWrong(assembled) }
    })
    guardRedials(torrent, options.isRefused)
    this.#timer = setInterval(() => {
      this.#shirkers.watch()
      askAgain(torrent)
    }, watchMs)
    this.#timer.unref()
  }

  /** False: this peer is refused, and its connection is closed. */
  admits (wire: Wire): boolean {
    const who = identityOf(wire)
    if (who !== null && (this.#options.bans.isPeerRefused(who) || this.#options.isRefused(`${who.ip}:${who.port}`))) {
      wire.destroy()
      return false
    }
    wire.on('piece', () => { this.#shirkers.onBlock(wire) })
    onBytes(this.#torrent, wire, () => { this.#shirkers.onBytes(wire) })
    onRefused(wire, (piece) => { this.#shirkers.onReject(wire, piece) })
    wire.on('timeout', () => { this.#shirkers.onTimeout(wire) })
    wire.on('close', () => { this.#liars.forget(wire) })
    return true
  }

  /** May this peer not be asked for everything? */
  isRestricted (wire: Wire): boolean {
    return this.#liars.restricted.has(wire)
  }

  /** Lets go of all who are refused by now. */
  dropRefused (): void {
    const { bans, isRefused } = this.#options
    dropPeers(this.#torrent, (address, peerId) => {
      const at = splitAddress(address)
      return isRefused(address) || (at !== null && peerId !== null && bans.isPeerRefused({ ...at, peerId }))
    })
  }

  close (): void {
    clearInterval(this.#timer)
  }
}

function identityOf (wire: Wire): PeerIdentity | null {
  const at = splitAddress(`${wire.remoteAddress ?? ''}:${wire.remotePort ?? 0}`)
  return at === null ? null : { ...at, peerId: wire.peerId }
}
