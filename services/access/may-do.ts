/**
 * What a client wants, by what it costs whom: `public`: probes, the page, descriptions. `stream`: the stream or status of
 * an infohash that is cached or was added. `add`: add one, or stream one that nobody knows. `list`: what is here and
 * happens. `manage`: whatever deletes, keeps or sets. `relay`: have a URL fetched for the caller.
 */
export type Action = 'public' | 'stream' | 'add' | 'list' | 'manage' | 'relay'

/**
 * What a client can show. `token`: the API token, or a login with it. `trusted`: it comes from this machine or network,
 * and no token was set. `secret`: a secret path. `signature`: a signed URL of the infohash that is asked for.
 */
export type Proof = 'token' | 'trusted' | 'secret' | 'signature'

export type StreamAccess = 'open' | 'known' | 'signed'

type Cell = 'all' | readonly Proof[]

const links: Cell = ['token', 'secret', 'signature']
const owners: Cell = ['token', 'trusted']
/** Stremio clients have to do it, and have nothing to show but a secret path. For anybody this would be an open proxy. */
const guests: Cell = ['token', 'trusted', 'secret']

const table: Readonly<Record<Action, Readonly<Record<StreamAccess, Cell>>>> = {
  public: { open: 'all', known: 'all', signed: 'all' },
  stream: { open: 'all', known: 'all', signed: links },
  add: { open: 'all', known: links, signed: links },
  list: { open: owners, known: owners, signed: owners },
  manage: { open: owners, known: owners, signed: owners },
  relay: { open: guests, known: guests, signed: guests }
}

/** May who can show these proofs do this, under this STREAM_ACCESS? One of the cell's proofs is enough. */
export function mayDo (action: Action, proofs: ReadonlySet<Proof>, mode: StreamAccess): boolean {
  const cell = table[action][mode]
  return cell === 'all' || cell.some((proof) => proofs.has(proof))
}

/** All that these proofs allow. */
export function allowed (proofs: ReadonlySet<Proof>, mode: StreamAccess): Action[] {
  const actions: readonly Action[] = ['public', 'stream', 'add', 'list', 'manage', 'relay']
  return actions.filter((action) => mayDo(action, proofs, mode))
}
