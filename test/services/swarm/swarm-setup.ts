import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import type { Test } from 'tap'
import { pause } from '../../../services/deadline.ts'
import type { Log } from '../../../services/log.ts'
import { urgencies } from '../../../services/pieces/demand.ts'
import type { Urgency, Want } from '../../../services/pieces/demand.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { Swarm } from '../../../services/swarm/swarm.ts'
import type { SwarmOptions, SwarmTorrent } from '../../../services/swarm/swarm.ts'
import type { HostTuning } from '../../../services/swarm/host-process.ts'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import { temporaryDirectory } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'

/** A log that remembers its lines: `level message`. */
export function recordingLog (): Log & { readonly lines: string[] } {
  const lines: string[] = []
  const record = (level: string) => (_fields: object, message: string): void => { lines.push(`${level} ${message}`) }
  return { lines, debug: record('debug'), info: record('info'), warn: record('warn'), error: record('error') }
}

/** A swarm that knows nobody, closed with the test. It is not started. */
export function makeSwarm (t: Test, options: Partial<SwarmOptions> = {}, tuning: Partial<HostTuning> = {}): Swarm {
  const swarm = new Swarm({
    port: 0,
    trackers: [],
    dhtBootstrap: [],
    iceServers: [],
    staticPeers: [],
    uploadLimitBytes: -1,
    downloadLimitBytes: -1,
    seedRatio: 1,
    isPortMappingEnabled: false,
    isLsdEnabled: false,
    stunServers: [],
    isPanel: false,
    // Tests live on loopback; those of the guard switch it on.
    allowPrivateNetworks: true,
    log: recordingLog(),
    ...options
  }, tuning)
  t.teardown(async () => { await swarm.close() })
  return swarm
}

/** The same, started and ready. */
export async function startSwarm (t: Test, options: Partial<SwarmOptions> = {}, tuning: Partial<HostTuning> = {}): Promise<Swarm> {
  const swarm = makeSwarm(t, options, tuning)
  swarm.start()
  await swarm.ready(AbortSignal.timeout(30_000))
  return swarm
}

/** An empty store for the torrent that wants these files (default: all), closed with the test. */
export async function openStore (t: Test, torrent: TestTorrent, files?: readonly number[]): Promise<PieceStore> {
  const directory = await temporaryDirectory(t)
  const store = await PieceStore.open({ metadata: torrent.metadata, directory: join(directory, 'store') })
  t.teardown(async () => { await store.close() })
  for (const file of files ?? torrent.metadata.files.keys()) await store.want(file)
  return store
}

/** Opens the store and attaches it as soon as the swarm has brought the metadata, as the server does. */
export async function attachFromSwarm (t: Test, swarmTorrent: SwarmTorrent, torrent: TestTorrent): Promise<PieceStore> {
  const [bytes] = await once(swarmTorrent, 'metadata', { signal: AbortSignal.timeout(60_000) })
  t.same(parseMetadata(bytes, torrent.infohash).files, torrent.metadata.files, 'the metadata is the torrent\'s')
  const store = await openStore(t, torrent)
  swarmTorrent.attach(store, bytes)
  return store
}

/** Wants all pieces of the torrent. */
export function wantAll (swarmTorrent: SwarmTorrent, store: PieceStore, urgency: Urgency = urgencies.background): Want {
  const want = swarmTorrent.demand.open()
  want.set([{ first: store.geometry.piece(0), last: store.geometry.piece(store.geometry.pieceCount - 1), urgency }])
  return want
}

/** Resolves when all pieces are verified, or these. */
export async function verified (store: PieceStore, pieces: Iterable<number> = Array(store.geometry.pieceCount).keys(), limitMs = 90_000): Promise<void> {
  const signal = AbortSignal.timeout(limitMs)
  for (const piece of pieces) await store.waitFor(store.geometry.piece(piece), signal)
}

/** Compares what is on the disk with what was seeded, byte by byte. */
export async function sameFiles (t: Test, store: PieceStore, torrent: TestTorrent): Promise<void> {
  for (const [index, path] of store.layout.files) {
    const wanted = torrent.files[index]
    if (wanted === undefined) throw new Error(`file ${index} is not one of the torrent's`)
    const found = await readFile(path)
    t.equal(hashOf(found), hashOf(wanted.bytes), `${wanted.path} is the seeder's, all ${wanted.bytes.length} bytes`)
  }
}

function hashOf (bytes: Buffer): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`
}

/** Is there a process with this id? */
export function isAlive (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Waits for the end of a process that is not our child. */
export async function gone (pid: number, limitMs: number): Promise<number> {
  const startedAt = performance.now()
  while (isAlive(pid)) {
    if (performance.now() - startedAt > limitMs) throw new Error(`process ${pid} still lives after ${limitMs} ms`)
    await pause(10, AbortSignal.timeout(1_000))
  }
  return performance.now() - startedAt
}
