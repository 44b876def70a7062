import type WebTorrent from 'webtorrent'
import { Bans, splitAddress } from './bans.ts'
import type { PeerIdentity } from './bans.ts'
import { guardIncoming } from './internals/connections.ts'

/** Whom the swarm has nothing to do with, over all torrents, whoever of the two begins. */
export class Doorkeeper {
  readonly bans = new Bans()

  /** From now on who is refused does not get in. Call it after 'listening'. */
  guard (client: WebTorrent): void {
    guardIncoming(client, this.isRefused)
  }

  /** Is this `ip:port` or `[ip]:port` refused? What is no address is not. */
  readonly isRefused = (address: string): boolean => {
    const at = splitAddress(address)
    return at !== null && this.bans.isRefused(at.ip, at.port)
  }
}

/** What the log says of a lie. */
export function tellLie ({ ip, port }: PeerIdentity, infohash: string, piece: number, isBanned: boolean): { readonly fields: object, readonly message: string } {
  return { fields: { infohash, peer: `${ip}:${port}`, piece }, message: isBanned ? 'a peer is banned: it has sent wrong data again' : 'a peer has sent wrong data' }
}
