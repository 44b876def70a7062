import { parseEndpoint } from '../../../services/swarm/endpoint.ts'
import type { Endpoint } from '../../../services/swarm/endpoint.ts'
import type { Neighbour } from '../../../services/swarm/neighbour.ts'
import { peerFlags } from '../../../services/swarm/neighbour.ts'

/** A peer on paper, which remembers what it was sent. */
export interface PaperNeighbour extends Neighbour {
  listening: Endpoint | null
  flags: number
  readonly sent: Array<{ extension: string, message: Uint8Array }>
  isClosed: boolean
  receivedBytes: number
  readonly extensions: Set<string>
}

/** An endpoint as text; throws for what is none. */
export function at (text: string): Endpoint {
  const endpoint = parseEndpoint(text)
  if (endpoint === null) throw new Error(`${text} is no endpoint`)
  return endpoint
}

let count = 0

/** A peer that came in by uTP and has all extensions, unless said otherwise. */
export function neighbour (address: string, { extensions = ['ut_pex', 'ut_holepunch'], ...choices }: Partial<Omit<PaperNeighbour, 'extensions'>> & { readonly extensions?: readonly string[] } = {}): PaperNeighbour {
  const remote = at(address)
  const all = new Set(extensions)
  return {
    peerId: String(++count).padStart(40, '0'),
    remote,
    listening: remote,
    isUtp: true,
    isOutgoing: false,
    isPunched: false,
    isClosed: false,
    ownAddress: null,
    receivedBytes: 0,
    flags: peerFlags.hasUtp | peerFlags.hasHolepunch,
    sent: [],
    extensions: all,
    supports: (extension) => all.has(extension),
    send (extension, message) { if (all.has(extension)) this.sent.push({ extension, message }) },
    close () { this.isClosed = true },
    ...choices
  }
}
