import { isSameEndpoint } from './endpoint.ts'
import type { Endpoint } from './endpoint.ts'

/** What flags say about a peer (BEP 11, `added.f`). */
export const peerFlags = { prefersEncryption: 0x01, isSeed: 0x02, hasUtp: 0x04, hasHolepunch: 0x08, isReachable: 0x10 } as const

/** A connected peer, after its handshake, as those see it who introduce peers to each other. */
export interface Neighbour {
  /** Hexadecimal. */
  readonly peerId: string
  /** Where its packets come from. */
  readonly remote: Endpoint
  /** Where it accepts connections, as far as it can be told; null: unknown. It says so a moment after its handshake. */
  readonly listening: Endpoint | null
  readonly isUtp: boolean
  /** We dialled. */
  readonly isOutgoing: boolean
  /** Through a hole that was punched for us: nobody else gets in that way. */
  isPunched: boolean
  /** The address at which it sees us (BEP 10, `yourip`); null: it has not said. */
  readonly ownAddress: string | null
  /** From it, on this connection, protocol included. */
  readonly receivedBytes: number
  /** `peerFlags`, as far as it has said so. */
  readonly flags: number
  /** Has it named this extension in its extended handshake (BEP 10)? */
  supports (extension: string): boolean
  /** Nothing happens where it does not support the extension, or is gone. */
  send (extension: string, message: Uint8Array): void
  close (): void
}

/** Is this where the peer is, as its packets or as it says? */
export function isAt (neighbour: Neighbour, endpoint: Endpoint): boolean {
  return isSameEndpoint(neighbour.remote, endpoint) || isSameEndpoint(neighbour.listening, endpoint)
}
