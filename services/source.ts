import type { ReasonCode } from './errors.ts'
import type { ByteRange } from './pieces/geometry.ts'
import type { Hints } from './torrent/torrent.ts'

/** What a client asks for, with everything about HTTP taken away. */
export interface StreamRequest {
  /** 40 lower-case hex digits. */
  readonly infohash: string
  /** The torrent's own order, zero-based; null: the default file (largest video, else media, else file). */
  readonly fileIndex: number | null
  /** Tracker URLs to add to the search. */
  readonly trackers: readonly string[]
  /** What else a magnet says of where to look. */
  readonly hints?: Pick<Hints, 'name' | 'webSeeds' | 'acceptableSources' | 'exactSources' | 'peers'>
  /** Other Self-Stremes that ask on behalf of their own clients, the first first: whoever downloads from mirrors must not come back to them. */
  readonly hops?: readonly string[]
  /**
   * Where the client wants to begin: a source answers when the first bytes from there can be read.
   * `start` counts from the beginning, `last` from the end; null: headers only, no content has to be fetched.
   */
  readonly head: { readonly start: number } | { readonly last: number } | null
  /** Nobody watches: the file is wanted whole, in whatever order it comes best. */
  readonly isBackground?: boolean
}

/** A file that a source can deliver, readable at any range, any number of times, at the same time too. */
export interface SourceFile {
  /** The source's name, for `X-Stream-Source`. */
  readonly source: string
  /** The file's own name, for Content-Type and Content-Disposition. */
  readonly name: string
  readonly lengthBytes: number
  /** Strong, with its quotes. Two files with the same ETag hold the same bytes. */
  readonly etag: string
  readonly lastModified: Date | null
  /** Every byte was, or will be before it is handed out, checked against the torrent's piece hashes. */
  readonly isVerified: boolean
  /** All its bytes are on this machine already: reading it brings nothing in. */
  readonly isLocal: boolean
  /**
   * The bytes of an inclusive range that lies inside the file: exactly those, or a CodedError is thrown.
   * Honours its signal at once, and releases everything when the iteration is returned or thrown into.
   */
  read (range: ByteRange, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** Its path, every link resolved, where all of it is in one verified file: for somebody else who sends it. Counts as being streamed. */
  handOver? (): string
  /** Bytes that came in behind it so far, verified or not; only grows. While it does, a reader that waits is not forgotten. */
  progress? (): number
  /** How many bytes from this one on can be read without waiting for anybody; not counted beyond `limit`. */
  ahead? (position: number, limit: number): number
  /** Lets the source bring bytes that another one is read for. It brings nothing until it is told where the reader is. */
  help? (): Helper
}

/** A source that works beside the one that is read. */
export interface Helper {
  readonly source: string
  /** The reader is at this byte: what is imminent comes first, whoever fetches it already, then what is before the horizon. */
  moveTo (position: number, range: { readonly imminentBytes: number, readonly horizonBytes: number }): void
  /** Twice does nothing more. */
  release (): void
}

/** What a source may say while it opens. */
export interface StartReport {
  /** It goes on, but knows of nobody who could deliver: the next source need not wait for its turn. */
  hopeless (): void
}

/** One way to get a file. */
export interface Source {
  readonly name: string
  /** The chain asks lower numbers first. */
  readonly priority: number
  /** After so many milliseconds without an answer the next source is started beside this one; absent: only by the hedge delay. */
  readonly turnMs?: number
  /** It asks nobody but this machine: what fails here is not remembered, for it may work at any time, and asking costs nothing. */
  readonly isLocal?: boolean
  /**
   * null: "not mine". Throws a CodedError: "I broke, and this is why". Honours its signal: after an abort nothing of
   * this request is left behind, though work that belongs to the infohash may live on.
   */
  open (request: StreamRequest, signal: AbortSignal, report: StartReport): Promise<SourceFile | null>
  /** Is there news since it failed so for this infohash (a peer connected, a mirror is back), so that asking again makes sense? */
  isHopeful? (infohash: string, failure: ReasonCode): boolean
}
