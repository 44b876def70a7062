import type { SourceChain } from './source-chain.ts'
import type { Refusal } from './source-walk.ts'
import type { InfohashHistory, ResponseRecord, StreamHistory } from './stream-history.ts'
import type { TorrentList } from './torrent/torrent-list.ts'
import type { TorrentStatus } from './torrent/torrent-status.ts'
import type { Torrents } from './torrent/torrents.ts'

/**
 * `starting`: sources are asked. `streaming`: a client gets bytes. `waiting`: a client waits for them in the middle of a
 * response. `cached`: it is whole, here. `failed`: nothing could serve it when it was asked for last. `idle`: known, and
 * nobody asks. `unknown`: never heard of.
 */
export type StreamState = 'starting' | 'streaming' | 'waiting' | 'cached' | 'failed' | 'idle' | 'unknown'

/** What a source is doing for this infohash, or why it is not. */
export interface SourceStatus {
  readonly source: string
  readonly isHopeful: boolean
  readonly message: string
  readonly code?: string
  /** When it may be asked again, in seconds; null: now. */
  readonly retryInSeconds: number | null
}

/** Why a stream plays or does not. Bytes, seconds, progress from 0 to 1. */
export interface StreamStatus {
  readonly infoHash: string
  readonly name: string | null
  readonly state: StreamState
  /** One sentence for people. */
  readonly reason: string
  readonly retryAfterSeconds: number | null
  readonly cached: boolean
  readonly progress: number
  readonly downloadSpeed: number
  readonly peers: number
  readonly sources: readonly SourceStatus[]
  readonly responses: readonly ResponseRecord[]
  readonly lastResponse: ResponseRecord | null
  readonly lastStart: InfohashHistory['start']
}

export interface StreamStatusOptions {
  readonly sources: SourceChain
  readonly history: StreamHistory
  readonly torrents: Torrents
  readonly torrentList: TorrentList
}

/** A client that waits for less is not told to be waiting. */
const WAITING_MS = 1000
const RESPONSES_SHOWN = 100

/** Everything that is known of the stream of an infohash; asks no source and starts nothing. */
export async function streamStatus (infohash: string, { sources, history, torrents, torrentList }: StreamStatusOptions): Promise<StreamStatus> {
  const known = await torrentList.status(infohash)
  const { running, last, start } = history.of(infohash)
  const resting = sources.resting(infohash)
  const torrent = torrents.get(infohash)
  const statuses = statusesOf(torrent?.fillers ?? [], resting)
  const isDiskFull = torrent?.store?.isDiskFull === true
  const lookup = torrent?.metadata === null ? torrent.lookupFailure?.message ?? null : null
  const startingSince = sources.startingSince(infohash)
  const { state, reason } = stateOf({ known, running, startingSince, lookup, isDiskFull, resting, statuses, start })
  const retryInMs = resting.flatMap(({ isTemporary, retryInMs }) => isTemporary && retryInMs !== undefined ? [retryInMs] : [])
  return {
    infoHash: infohash,
    name: known?.name ?? null,
    state,
    reason,
    retryAfterSeconds: state === 'failed' && retryInMs.length > 0 ? Math.ceil(Math.min(...retryInMs) / 1000) : null,
    cached: known?.cached ?? false,
    progress: known?.progress ?? 0,
    downloadSpeed: known?.downloadSpeed ?? 0,
    peers: known?.peers ?? 0,
    sources: statuses,
    responses: running.slice(-RESPONSES_SHOWN),
    lastResponse: last,
    lastStart: start
  }
}

function statusesOf (fillers: ReadonlyArray<{ readonly name: string, readonly isHopeful: boolean, readonly state: string }>, resting: readonly Refusal[]): SourceStatus[] {
  const working = fillers.map(({ name, isHopeful, state }) => ({ source: name, isHopeful, message: state, retryInSeconds: null }))
  const names = new Set(working.map(({ source }) => source))
  return [...working, ...resting.filter(({ source }) => !names.has(source)).map(({ source, code, message, retryInMs }) => ({
    source, isHopeful: false, code, message, retryInSeconds: retryInMs === undefined ? null : Math.ceil(retryInMs / 1000)
  }))]
}

interface Facts {
  readonly known: TorrentStatus | null
  readonly running: readonly ResponseRecord[]
  readonly startingSince: number | null
  /** Who was asked for the metadata that is still missing, and did not have it. */
  readonly lookup: string | null
  readonly isDiskFull: boolean
  readonly resting: readonly Refusal[]
  readonly statuses: readonly SourceStatus[]
  readonly start: InfohashHistory['start']
}

function stateOf ({ known, running, startingSince, lookup, isDiskFull, resting, statuses, start }: Facts): { state: StreamState, reason: string } {
  const told = [...isDiskFull ? ['the disk is full: what readers wait for is kept in memory'] : [], ...lookup === null ? [] : [`metadata: ${lookup}`], ...statuses.map(({ source, message }) => `${source}: ${message}`)].join('; ')
  const waiting = running.flatMap(({ waitingSince }) => waitingSince === null ? [] : [Date.now() - waitingSince]).filter((ms) => ms >= WAITING_MS)
  if (running.length > 0 && waiting.length === running.length) {
    return { state: 'waiting', reason: `a client has waited for ${seconds(Math.max(...waiting))} (${told || 'no source is at work'})` }
  }
  if (running.length > 0) return { state: 'streaming', reason: [...new Set(running.map((response) => response.segments.at(-1)?.source ?? 'no source'))].join(', ') }
  if (startingSince !== null) {
    const doing = known?.status === 'metadata' ? 'waiting for metadata' : 'asking the sources'
    return { state: 'starting', reason: `${doing} for ${seconds(performance.now() - startingSince)}${told === '' ? '' : ` (${told})`}` }
  }
  if (known?.cached === true) return { state: 'cached', reason: 'it is in the cache' }
  const refusals = resting.length > 0 ? resting : start?.source === null ? start.refusals : []
  if (refusals.length > 0) return { state: 'failed', reason: refusals.map(({ source, message }) => `${source}: ${message}`).join('; ') }
  if (known === null && start === null) return { state: 'unknown', reason: 'this server never heard of it' }
  return { state: 'idle', reason: told === '' ? 'nobody asks for it' : `nobody asks for it (${told})` }
}

function seconds (ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
