import type { Metadata } from '../torrent/metadata.ts'
import type { FileStatus, TorrentStatus } from '../torrent/torrent-status.ts'
import type { Torrent } from '../torrent/torrent.ts'

/** What is known of a torrent; each part may be missing. */
export interface Known {
  readonly infohash: string
  readonly status: TorrentStatus | null
  readonly metadata: Metadata | null
  /** The one that runs. */
  readonly torrent: Torrent | null
  /** The file that the statistics are about. */
  readonly file: Pick<FileStatus, 'name' | 'length' | 'progress'> | null
}

/** More are not listed: a torrent may have 100,000. */
const MAX_FILES = 10_000
const MAX_SOURCES = 20

/**
 * The statistics of a torrent with every field that stremio-core's parser demands (its types/streaming_server/statistics.rs).
 * Counters are whole numbers; what this server does not count is 0.
 */
export function statisticsOf ({ infohash, status, metadata, torrent, file }: Known) {
  const peers = torrent?.peersConnected ?? 0
  const searched = [`dht:${infohash}`, ...trackersOf(metadata, torrent).map((tracker) => `tracker:${tracker}`)]
  const startedAt = torrent === null ? null : new Date(performance.timeOrigin + torrent.startedAt).toISOString()
  return {
    infoHash: infohash,
    name: metadata?.name ?? status?.name ?? infohash,
    peers,
    unchoked: peers,
    queued: 0,
    unique: peers,
    connectionTries: 0,
    swarmPaused: torrent === null,
    swarmConnections: peers,
    swarmSize: peers,
    selections: [],
    wires: [],
    files: metadata?.files.slice(0, MAX_FILES).map(fileOf) ?? [],
    downloaded: Math.round(status?.downloaded ?? 0),
    uploaded: Math.round(status?.uploaded ?? 0),
    downloadSpeed: Math.round(status?.downloadSpeed ?? 0),
    uploadSpeed: 0,
    sources: startedAt === null ? [] : searched.map((url, i) => ({ url, lastStarted: startedAt, numFound: i === 0 ? peers : 0, numFoundUniq: i === 0 ? peers : 0, numRequests: 1 })),
    peerSearchRunning: torrent !== null && status?.cached !== true,
    opts: {
      connections: 55,
      dht: true,
      growler: { flood: 0, pulse: 39_321_600 },
      handshakeTimeout: 20_000,
      path: '.',
      peerSearch: { min: 40, max: 200, sources: searched },
      swarmCap: { minPeers: 5, maxSpeed: 3_670_016 },
      timeout: 4_000,
      tracker: true,
      virtual: true
    },
    streamLen: file?.length ?? 0,
    streamName: file?.name ?? '',
    streamProgress: Math.min(1, Math.max(0, file?.progress ?? 0))
  }
}

export type Statistics = ReturnType<typeof statisticsOf>

/** Padding is among them: clients take a file by its place in this list. */
function fileOf ({ name, path, lengthBytes, offset }: Metadata['files'][number]) {
  return { name, path, length: lengthBytes, offset }
}

/** Without their paths: private trackers have the user's key there. */
function trackersOf (metadata: Metadata | null, torrent: Torrent | null): string[] {
  const all = [...metadata?.trackers ?? [], ...torrent?.hints.trackers ?? []]
  const places = all.flatMap((tracker) => {
    const url = URL.parse(tracker)
    return url === null || url.host === '' ? [] : [`${url.protocol}//${url.host}`]
  })
  return [...new Set(places)].slice(0, MAX_SOURCES)
}
