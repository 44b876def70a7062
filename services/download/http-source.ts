import { abortable, pause, race } from '../deadline.ts'
import { asCoded, CodedError, reasonCodes } from '../errors.ts'
import { formatBytes } from '../format.ts'
import { isVideo } from '../http/content-type.ts'
import { openFilledFile } from '../pieces/filled-file.ts'
import { selectFile } from '../torrent/file-selection.ts'
import { HttpDownloader } from './http-downloader.ts'
import { httpSeedMirrors } from './http-seeds.ts'
import { directMirrors, templateMirrors, trustedUrls, webSeedMirrors } from './mirrors.ts'
import { openUnverifiedFile } from './unverified-file.ts'
import { isLoop, viaOf } from './via.ts'
import { webtorMirrors } from './webtor-mirror.ts'
import type { MirrorScores } from './mirror-scores.ts'
import type { PieceMemory } from './piece-memory.ts'
import type { Log } from '../log.ts'
import type { Filler } from '../pieces/filler.ts'
import type { Source, SourceFile, StreamRequest } from '../source.ts'
import type { ClosableFiller, Torrent } from '../torrent/torrent.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { Metadata } from '../torrent/metadata.ts'
import type { Mirror } from './mirror.ts'
import type { Webtor } from './webtor.ts'
import type { Fetcher } from './fetcher.ts'

const HOPE_INTERVAL_MS = 100

export interface HttpSourceOptions {
  readonly torrents: Torrents
  readonly fetcher: Fetcher
  /** The file itself: URLs with `{hash}`, `{index}` and so on. */
  readonly mirrorUrls: readonly string[]
  /** The operator's WebTor.io, a mirror of every torrent that is not private. */
  readonly webtor: Webtor | null
  /** Trackers that are told to it beside the torrent's own. */
  readonly trackers: readonly string[]
  /** For the pieces of all downloads. */
  readonly memory: PieceMemory
  /** What is known of mirrors, over all downloads. */
  readonly scores: MirrorScores
  /** So long after its last reader a download goes on. */
  readonly lingerMs: number
  readonly stallTimeoutMs: number
  /** So long from the torrent's start another source may bring the metadata that no lookup found. */
  readonly patienceMs: number
  /** This server among the Self-Stremes that a request may come through. */
  readonly hop: string
  readonly log: Log
}

/** HTTP download as a source: any infohash is its own, whose `.torrent` can be had and which has a mirror. */
export function httpSource (options: HttpSourceOptions): Omit<Source, 'priority'> {
  const { torrents, hop } = options
  return {
    name: 'http-fallback',
    async open (request, signal) {
      const { infohash, trackers, hints, hops = [] } = request
      if (isLoop(hops, hop)) throw new CodedError('HTTP_LOOP', 'the request came through this server already, or through too many: servers have each other as mirrors (Via)')
      return await torrents.whileJoined(infohash, { ...hints, trackers, hops }, async (torrent) => await openFromMirrors(request, torrent, options, signal))
    },
    isHopeful: (infohash, failure) => torrents.get(infohash)?.fillers.some((filler) => filler.name === 'http-fallback' && filler.isHopeful) === true ||
      // The swarm has brought what the lookup did not find.
      (failure === 'METADATA_NOT_FOUND' && torrents.get(infohash)?.store != null)
  }
}

async function openFromMirrors (request: StreamRequest, torrent: Torrent, options: HttpSourceOptions, signal: AbortSignal): Promise<SourceFile> {
  const { torrents, stallTimeoutMs } = options
  await abortable(torrent.load(), signal)
  let filler: ClosableFiller
  try {
    filler = await abortable(torrent.fill('http-fallback', async () => await startDownload(torrent, request, options)), signal)
    filler.hurry?.()
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'METADATA_NOT_FOUND') throw error
    return await openUnverified(request, torrent, error, options, signal)
  }
  return await race(signal,
    async (signal) => await openFilledFile(request, { torrents, store: await torrent.ready(signal), filler, stallTimeoutMs }, signal),
    async (signal) => await exhausted(filler, signal)
  )
}

/** There is no `.torrent`, so nothing that a mirror sends can be checked: only what the operator trusts is streamed. */
async function openUnverified (request: StreamRequest, torrent: Torrent, { message }: CodedError, options: HttpSourceOptions, signal: AbortSignal): Promise<SourceFile> {
  const urls = trustedUrls(options.mirrorUrls, request.infohash, request.fileIndex)
  if (urls.length === 0) throw new CodedError('METADATA_NOT_FOUND', `${message}; without it mirrors cannot be checked, and no template of HTTP_MIRROR_URLS for ${request.fileIndex === null ? 'the default file' : 'a file by its number'} is marked trusted: to be streamed unverified`)
  try {
    const file = await openUnverifiedFile(request, { urls, fetcher: withVia(torrent, options), source: 'http-fallback' }, signal)
    options.log.warn({ infohash: torrent.infohash }, `[Hybrid] Streaming unverified, from a trusted mirror: ${message}`)
    return file
  } catch (error) {
    signal.throwIfAborted()
    throw new CodedError('METADATA_NOT_FOUND', `${message}; ${asCoded(error, 'SOURCE_FAILED').message}`, { cause: error })
  }
}

/** What is asked for this torrent says through which servers it was wanted, so that a loop of them ends. */
function withVia ({ hints }: Torrent, { fetcher, hop }: HttpSourceOptions): Pick<Fetcher, 'get'> {
  return {
    async get (url, { headers, ...options }) {
      return await fetcher.get(url, { ...options, headers: { ...headers, via: viaOf(hints.hops, hop) } })
    }
  }
}

/** Rejects when the mirrors have failed for good. A failure from before this request's demand is first given a chance to end. */
async function exhausted (filler: Filler, signal: AbortSignal): Promise<never> {
  do await pause(HOPE_INTERVAL_MS, signal)
  while (filler.failure === null)
  throw filler.failure
}

/** Metadata, then the mirrors that it and the configuration name. It belongs to the torrent and outlives the request. */
async function startDownload (torrent: Torrent, request: StreamRequest, options: HttpSourceOptions): Promise<HttpDownloader> {
  const { lingerMs, log, memory, scores } = options
  const fields = { infohash: torrent.infohash }
  log.info(fields, '[Hybrid] Falling back to HTTP download...')
  const metadata = torrent.metadata ?? await findMetadata(torrent, options)
  const store = await torrent.provide(metadata)
  logSelection(metadata, request.fileIndex, log)
  const mirrors = mirrorsOf(torrent, metadata, options)
  if (mirrors.length === 0) {
    throw new CodedError('HTTP_NO_MIRROR', 'the torrent names no web seed, and neither HTTP_MIRROR_URLS nor WEBTOR_URL is set: there is nowhere to download from')
  }
  log.info(fields, '[Hybrid] Step 4: Downloading video file via HTTP...')
  return new HttpDownloader({ metadata, store, mirrors, fetcher: withVia(torrent, options), memory, scores, lingerMs, log })
}

/** The operator's first: of equals the first is asked. */
function mirrorsOf ({ hints, closing }: Torrent, metadata: Metadata, { mirrorUrls, webtor, trackers }: HttpSourceOptions): Mirror[] {
  return [
    ...templateMirrors(mirrorUrls, metadata),
    ...webSeedMirrors(metadata, [...hints.webSeeds]),
    ...directMirrors(metadata, [...hints.acceptableSources]),
    ...httpSeedMirrors(metadata),
    ...(webtor === null ? [] : webtorMirrors({ webtor, metadata, trackers: [...hints.trackers, ...trackers], closing }))
  ]
}

/** From a lookup, or from whichever other source brings it meanwhile. */
async function findMetadata (torrent: Torrent, { patienceMs }: HttpSourceOptions): Promise<Metadata> {
  return await race(torrent.closing,
    async (signal) => {
      for (;;) {
        const { reasonsToLook } = torrent
        try {
          return await abortable(torrent.lookUp(), signal)
        } catch (error) {
          if (error instanceof CodedError && reasonCodes[error.code].isFinal) throw error
          while (mayBringMetadata(torrent, patienceMs) && torrent.reasonsToLook === reasonsToLook) await pause(HOPE_INTERVAL_MS, signal)
          if (torrent.reasonsToLook === reasonsToLook) throw error
        }
      }
    },
    async (signal) => (await torrent.ready(signal)).metadata
  )
}

/** Is there another filler that is still looking, or has peers to ask? */
function mayBringMetadata (torrent: Torrent, patienceMs: number): boolean {
  const isInTurn = performance.now() < torrent.startedAt + patienceMs
  return torrent.fillers.some(({ isHopeful }) => isInTurn || isHopeful)
}

function logSelection (metadata: Metadata, fileIndex: number | null, log: Log): void {
  const fields = { infohash: metadata.infohash }
  log.info(fields, '[Hybrid] Step 2: Parsing torrent metadata...')
  log.info(fields, `[Hybrid] Parsed torrent: ${metadata.name}`)
  log.info(fields, `[Hybrid] Files: ${metadata.files.filter(({ isPadding }) => !isPadding).length}`)
  log.info(fields, `[Hybrid] Total size: ${formatBytes(metadata.lengthBytes)}`)
  log.info(fields, '[Hybrid] Step 3: Finding video file...')
  log.info(fields, `[Hybrid] Found ${metadata.files.filter(({ name, isPadding }) => !isPadding && isVideo(name)).length} video file(s)`)
  // A number that is none of its files fails its own request, not the download that others share.
  const file = metadata.files[fileIndex ?? selectFile(metadata, null).index]
  if (file !== undefined) log.info(fields, `[Hybrid] Selected: ${file.name} (${formatBytes(file.lengthBytes)})`)
}
