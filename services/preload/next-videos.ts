import { selectFile } from '../torrent/file-selection.ts'
import { videoAfter } from '../torrent/videos.ts'
import { counted, Viewings } from './viewing.ts'
import type { Log } from '../log.ts'
import type { SourceFile, StreamRequest } from '../source.ts'
import type { Torrents } from '../torrent/torrents.ts'
import type { ByteRange } from '../pieces/geometry.ts'
import type { Preloads } from './preloads.ts'

export interface NextVideosOptions {
  readonly torrents: Pick<Torrents, 'knownMetadata'>
  readonly preloads: Pick<Preloads, 'start'>
  /** false: nothing is downloaded here. */
  readonly isOn: boolean
  readonly log: Log
}

/** When a video of a season pack was read to 90 %, the head and tail of the next one are preloaded, once. */
export class NextVideos {
  readonly #options: NextVideosOptions
  readonly #viewings = new Viewings()

  constructor (options: NextVideosOptions) {
    this.#options = options
  }

  /** Reads a range for somebody who watches; what is read is counted. */
  watch (request: StreamRequest, file: SourceFile, range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array> {
    const chunks = file.read(range, signal)
    if (!this.#options.isOn) return chunks
    const { infohash, fileIndex } = request
    const viewing = this.#viewings.begin(`${infohash} ${fileIndex ?? ''}`, file.lengthBytes, () => { void this.#preloadNext(request, file.lengthBytes) })
    return counted(chunks, range.start, viewing)
  }

  /** Never rejects: a next video that is not preloaded begins as any other. */
  async #preloadNext ({ infohash, fileIndex, trackers, hops = [] }: StreamRequest, lengthBytes: number): Promise<void> {
    const { torrents, preloads, log } = this.#options
    try {
      const metadata = await torrents.knownMetadata(infohash)
      if (metadata === null) return
      const { index, lengthBytes: expected } = selectFile(metadata, fileIndex)
      // Somebody's own encode of it is none of its files.
      const next = expected === lengthBytes ? videoAfter(metadata, index) : null
      if (next === null) return
      log.info({ infohash, fileIndex: next.index }, `nearly over: ${next.name} is preloaded`)
      preloads.start({ where: { infohash, trackers, hops }, fileIndex: next.index, range: null })
    } catch (error) {
      log.debug({ infohash, err: error }, 'the next video is not preloaded')
    }
  }
}
