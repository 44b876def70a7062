import { abortable, pause, race } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { isHopeful, openFilledFile } from '../pieces/filled-file.ts'
import { parseMetadata } from '../torrent/metadata.ts'
import type { Log } from '../log.ts'
import type { Filler } from '../pieces/filler.ts'
import type { Source, SourceFile, StartReport, StreamRequest } from '../source.ts'
import type { ClosableFiller, Torrent } from '../torrent/torrent.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { Swarm, SwarmTorrent } from './swarm.ts'

export interface P2pSourceOptions {
  readonly swarm: Swarm
  readonly torrents: Torrents
  /** P2P's turn: without a connected peer it has failed then, with one the next source starts beside it. */
  readonly timeoutMs: number
  /** A swarm that has delivered before has so long to do it again: one attempt. */
  readonly torrentTimeoutMs: number
  /** After so many failed attempts in a row it is not waited for until a peer is there. 0: it always is. */
  readonly maxRetries: number
  readonly stallTimeoutMs: number
  readonly log: Log
}

/** How often a start looks whether there is still hope. */
const HOPE_INTERVAL_MS = 200

/** The swarm as a source: any infohash is its own. */
export function p2pSource (options: P2pSourceOptions): Omit<Source, 'priority'> {
  const { torrents, timeoutMs } = options
  return {
    name: 'p2p',
    turnMs: timeoutMs,
    async open (request, signal, report) {
      const lease = torrents.join(request.infohash, { trackers: request.trackers })
      try {
        return await openFromSwarm(request, lease.torrent, options, signal, report)
      } finally {
        lease.release()
      }
    },
    isHopeful: (infohash) => isHopeful(torrents, infohash, 'p2p')
  }
}

async function openFromSwarm (request: StreamRequest, torrent: Torrent, options: P2pSourceOptions, signal: AbortSignal, report: StartReport): Promise<SourceFile> {
  const { swarm, torrents, timeoutMs, stallTimeoutMs, log } = options
  await abortable(torrent.load(), signal)
  if (swarm.status.state === 'unavailable') throw new CodedError('P2P_UNAVAILABLE', swarm.status.reason)
  const filler = await torrent.fill('p2p', async () => {
    log.info({ infohash: torrent.infohash }, `[Hybrid] Trying P2P (timeout: ${timeoutMs}ms)...`)
    if (torrent.store === null) void lookUp(torrent, log)
    return fillFromSwarm(torrent, swarm, log)
  })
  try {
    return await race(signal,
      async (signal) => await openFilledFile(request, { torrents, store: await torrent.ready(signal), filler, stallTimeoutMs }, signal),
      async (signal) => await hopeless(torrent, filler, options, signal, report)
    )
  } catch (error) {
    const reason = startEnded(error) ? outOfTime(filler) : error
    if (reason instanceof CodedError && reason.code === 'P2P_TIMEOUT') {
      log.info({ infohash: torrent.infohash, swarm: filler.state }, '[Hybrid] P2P failed: P2P timeout')
    }
    throw reason
  }
}

/** Attempts in a row that brought nothing, and what had been received when they began. */
const attempts = new WeakMap<Torrent, { count: number, receivedBytes: number }>()

/**
 * Rejects with P2P_TIMEOUT once P2P's turn is over and no peer is connected. The turn counts from the torrent's start;
 * for a swarm that has already delivered it is one attempt, from now.
 */
async function hopeless (torrent: Torrent, filler: Filler, { timeoutMs, torrentTimeoutMs, maxRetries }: P2pSourceOptions, signal: AbortSignal, report: StartReport): Promise<never> {
  const { receivedBytes } = filler
  if (receivedBytes === 0) {
    await untilHopeless(filler, torrent.startedAt + timeoutMs, signal, report)
    throw new CodedError('P2P_TIMEOUT', `no peer delivered data within ${timeoutMs} ms (${filler.state})`)
  }
  const before = attempts.get(torrent)
  const count = before?.receivedBytes === receivedBytes ? before.count : 0
  const isGivenUp = maxRetries > 0 && count >= maxRetries
  await untilHopeless(filler, isGivenUp ? -Infinity : performance.now() + torrentTimeoutMs, signal, report)
  attempts.set(torrent, { count: isGivenUp ? count : count + 1, receivedBytes })
  throw new CodedError('P2P_TIMEOUT', `no peer delivered more data (${filler.state}; ${isGivenUp ? `given up after ${count} attempts` : `attempt ${count + 1}, ${torrentTimeoutMs} ms`})`)
}

/** Resolves when the time is over and nobody is there who might deliver. */
async function untilHopeless (filler: Filler, endsAt: number, signal: AbortSignal, report: StartReport): Promise<void> {
  while (performance.now() < endsAt || filler.isHopeful) {
    if (filler.isBarren === true) report.hopeless()
    await pause(HOPE_INTERVAL_MS, signal)
  }
}

function startEnded (error: unknown): boolean {
  return error instanceof CodedError && error.code === 'START_TIMEOUT'
}

/** The whole start ran out of time before P2P's own turn had: what the swarm looked like says more than that. */
function outOfTime (filler: Filler): CodedError {
  return new CodedError('P2P_TIMEOUT', `${filler.isHopeful ? 'peers were there, but none' : 'no peer'} delivered data in time (${filler.state})`)
}

function fillFromSwarm (torrent: Torrent, swarm: Swarm, log: Log): ClosableFiller {
  const filler = swarm.join(torrent.infohash, {
    torrent: torrent.metadata?.torrent ?? null,
    trackers: [...torrent.hints.trackers, ...torrent.metadata?.trackers ?? []],
    peers: [...torrent.hints.peers],
    store: torrent.store
  })
  filler.on('metadata', (bytes) => { void takeMetadata(torrent, bytes, log) })
  if (torrent.store === null) void attachWhenReady(torrent, filler)
  torrent.on('hints', () => {
    filler.addTrackers([...torrent.hints.trackers])
    filler.addPeers([...torrent.hints.peers])
  })
  return Object.assign(filler, { close: () => { filler.leave() } })
}

/** A `.torrent` that somebody has over HTTP spares the peers' one, which comes late, or never where no peer has it whole. */
async function lookUp (torrent: Torrent, log: Log): Promise<void> {
  try {
    await torrent.provide(await torrent.lookUp())
  } catch (error) {
    log.debug({ infohash: torrent.infohash, err: error }, 'no metadata but from the swarm')
  }
}

async function takeMetadata (torrent: Torrent, bytes: Buffer, log: Log): Promise<void> {
  try {
    await torrent.provide(parseMetadata(bytes, torrent.infohash))
  } catch (error) {
    log.warn({ infohash: torrent.infohash, err: error }, 'metadata from the swarm cannot be used')
  }
}

async function attachWhenReady (torrent: Torrent, filler: SwarmTorrent): Promise<void> {
  try {
    const store = await torrent.ready(torrent.closing)
    filler.attach(store, store.metadata.torrent)
  } catch {
    // The torrent was let go before its metadata came: there is nothing to attach to.
  }
}
