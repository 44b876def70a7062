import type { TorrentFile } from '../torrent/metadata.ts'
import type { Verdict } from './range-reply.ts'

/** A stretch of one file that is wanted of a mirror, both ends inclusive. */
export interface Stretch {
  readonly file: TorrentFile
  readonly start: number
  readonly end: number
}

/** How to ask a mirror for a stretch, and what its answer has to look like. */
export interface MirrorRequest {
  readonly url: URL
  /** The operator named this address, so the address guard does not ask about it. */
  readonly isTrusted: boolean
  readonly headers: Readonly<Record<string, string>>
  /** The last byte of the file that is asked for: before the end of the stretch where the mirror gives less at a time. */
  readonly end: number
  /** `range`: a reply to `Range` (RFC 9110 section 14). `exact`: 200 with these bytes and no others (BEP 17). */
  readonly reply: 'range' | 'exact'
}

/** Where the files of one torrent can be had over HTTP. It is believed nothing: what it sends is judged by others. */
export interface Mirror {
  /** For people: the host. What is learnt about a mirror's speed and failures belongs to this name. */
  readonly name: string
  /** Is it of any use to ask for this file? Known without asking. */
  mayHave (file: TorrentFile): boolean
  /**
   * How to ask for the stretch, or its beginning. A mirror may have to ask around for that, for minutes even: no other
   * mirror waits for it. Throws MirrorFault, what the fetcher throws, or the signal's reason.
   */
  request (stretch: Stretch, signal: AbortSignal): Promise<MirrorRequest>
  /** This URL of the file was refused (401, 403, 410). true: the next request will ask for a new one. */
  renew? (file: TorrentFile, refused: URL): boolean
}

/** Why a mirror was no use that is its own doing, and the file it was about. */
export class MirrorFault extends Error {
  readonly verdict: Exclude<Verdict, { kind: 'accepted' }>
  readonly file: TorrentFile

  constructor (verdict: MirrorFault['verdict'], file: TorrentFile) {
    super(verdict.why)
    this.name = 'MirrorFault'
    this.verdict = verdict
    this.file = file
  }
}
