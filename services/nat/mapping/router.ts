/** A router that forwards ports on demand, by whatever protocol it understands. */
export interface Router {
  readonly protocol: 'UPnP' | 'NAT-PMP' | 'PCP'
  /**
   * Makes the router forward a port to this machine, or renews that. Rejects with a RouterError that says why not, or
   * with the signal's reason.
   */
  map (wish: Wish, signal: AbortSignal): Promise<Mapped>
  /** Takes it back. One that is not there is none the worse. Rejects as map does. */
  unmap (wish: Wish, signal: AbortSignal): Promise<void>
}

export interface Wish {
  readonly transport: 'tcp' | 'udp'
  /** On this machine. */
  readonly port: number
  /** On the router, if it has that free. */
  readonly externalPort: number
  readonly lifetimeSeconds: number
}

export interface Mapped {
  readonly externalPort: number
  /** What the router takes for its own public address; null: it did not say. */
  readonly externalAddress: string | null
  /** 0: for ever. */
  readonly lifetimeSeconds: number
}

/** Where the router is, and by which address of this machine it is reached. */
export interface Place {
  readonly gateway: string
  readonly local: string
}

/** Why a port is not forwarded, in words for people. */
export class RouterError extends Error {}
