import { abortable, pause, race } from '../deadline.ts'
import { CodedError } from '../errors.ts'
import { obstacleOf } from '../nat/classify.ts'
import { openFilledFile } from '../pieces/filled-file.ts'
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
      return await torrents.whileJoined(request.infohash, { ...request.hints, trackers: request.trackers }, async (torrent) => await openFromSwarm(request, torrent, options, signal, report))
    },
    isHopeful: (infohash) => torrents.get(infohash)?.fillers.some((filler) => filler.name === 'p2p' && hasNews(filler)) === true
  }
}

/** What the starts of a torrent have in common, as far as its swarm is concerned. */
interface Past {
  /** P2P's turn counts from here: the torrent may have run before, without a swarm. */
  readonly joinedAt: number
  /** Attempts in a row that brought nothing, after so many bytes. */
  attempts: number
  attemptedBytes: number
  /** How the swarm was when a start last failed. */
  failedPeers: number
  failedBytes: number
}

const pasts = new WeakMap<Filler, Past>()

function pastOf (filler: Filler): Past {
  const past = pasts.get(filler) ?? { joinedAt: performance.now(), attempts: 0, attemptedBytes: 0, failedPeers: 0, failedBytes: 0 }
  pasts.set(filler, past)
  return past
}

/** Is more there than when it last failed? Peers that are dialled in vain, or were there and brought nothing, are no news. */
function hasNews (filler: Filler): boolean {
  const { failedPeers, failedBytes } = pastOf(filler)
  return filler.isHopeful && (filler.peersConnected > failedPeers || filler.receivedBytes > failedBytes)
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
      async (signal) => await hopeless(filler, options, signal, report)
    )
  } catch (error) {
    const reason = startEnded(error) ? outOfTime(filler, swarm) : error
    if (reason instanceof CodedError && reason.code === 'P2P_TIMEOUT') {
      Object.assign(pastOf(filler), { failedPeers: filler.peersConnected, failedBytes: filler.receivedBytes })
      log.info({ infohash: torrent.infohash, swarm: filler.state }, '[Hybrid] P2P failed: P2P timeout')
    }
    throw reason
  }
}

/**
 * Rejects with P2P_TIMEOUT once P2P's turn is over and no peer is connected, and with what ended the swarm. The turn
 * counts from when the torrent joined its swarm; for one that has already delivered it is one attempt, from now.
 */
async function hopeless (filler: Filler, options: P2pSourceOptions, signal: AbortSignal, report: StartReport): Promise<never> {
  const { timeoutMs, torrentTimeoutMs, maxRetries } = options
  const { receivedBytes } = filler
  const past = pastOf(filler)
  if (receivedBytes === 0) {
    await untilHopeless(filler, past.joinedAt + timeoutMs, options, signal, report)
    throw new CodedError('P2P_TIMEOUT', `no peer delivered data within ${timeoutMs} ms (${filler.state}${obstacle(filler, options.swarm)})`)
  }
  const count = past.attemptedBytes === receivedBytes ? past.attempts : 0
  const isGivenUp = maxRetries > 0 && count >= maxRetries
  const noteAttempt = (): void => { Object.assign(past, { attempts: isGivenUp ? count : count + 1, attemptedBytes: receivedBytes }) }
  const startedAt = performance.now()
  try {
    await untilHopeless(filler, isGivenUp ? -Infinity : startedAt + torrentTimeoutMs, options, signal, report)
  } catch (error) {
    // START_TIMEOUT may be no longer than an attempt: one that had most of its time was one.
    if (startEnded(error) && performance.now() - startedAt > torrentTimeoutMs / 2) noteAttempt()
    throw error
  }
  noteAttempt()
  throw new CodedError('P2P_TIMEOUT', `no peer delivered more data (${filler.state}; ${isGivenUp ? `given up after ${count} attempts` : `attempt ${count + 1}, ${torrentTimeoutMs} ms`})`)
}

/** Resolves when the time is over and nobody is there who might deliver. Throws what keeps the swarm from ever delivering. */
async function untilHopeless (filler: Filler, endsAt: number, { swarm }: P2pSourceOptions, signal: AbortSignal, report: StartReport): Promise<void> {
  while (performance.now() < endsAt || filler.isHopeful) {
    if (filler.failure !== null) throw filler.failure
    if (swarm.status.state === 'unavailable') throw new CodedError('P2P_UNAVAILABLE', swarm.status.reason)
    if (filler.isBarren === true) report.hopeless()
    await pause(HOPE_INTERVAL_MS, signal)
  }
}

function startEnded (error: unknown): boolean {
  return error instanceof CodedError && error.code === 'START_TIMEOUT'
}

/** The whole start ran out of time before P2P's own turn had: what the swarm looked like says more than that. */
function outOfTime (filler: Filler, swarm: Swarm): CodedError {
  return new CodedError('P2P_TIMEOUT', `${filler.isHopeful ? 'peers were there, but none' : 'no peer'} delivered data in time (${filler.state}${obstacle(filler, swarm)})`)
}

/** What of the network explains that nobody was reached. */
function obstacle (filler: Filler, { network }: Swarm): string {
  const reason = filler.peersConnected === 0 && filler.receivedBytes === 0 ? obstacleOf(network.verdict) : null
  return reason === null ? '' : `; ${reason}`
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
  pastOf(filler)
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
