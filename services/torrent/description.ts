import type { SourceChain } from '../source-chain.ts'
import type { SourceFile, StreamRequest } from '../source.ts'
import type { Metadata } from './metadata.ts'
import type { Torrents } from './torrents.ts'

/** What is known of a torrent. Without metadata there is one file, which a source has all the same. */
export type Description =
  | { readonly metadata: Metadata, readonly file: null }
  | { readonly metadata: null, readonly file: SourceFile }

/**
 * The metadata of a torrent, looked for by all sources where it is unknown, as for a HEAD request: nothing else is
 * downloaded. Throws NothingServes when it cannot be had within START_TIMEOUT, or the signal's reason.
 */
export async function describe (
  { infohash, trackers, hops = [] }: Pick<StreamRequest, 'infohash' | 'trackers' | 'hops'>,
  { sources, torrents }: { readonly sources: Pick<SourceChain, 'open'>, readonly torrents: Pick<Torrents, 'knownMetadata'> },
  signal: AbortSignal
): Promise<Description> {
  const known = await torrents.knownMetadata(infohash)
  if (known !== null) return { metadata: known, file: null }
  try {
    const { file } = await sources.open({ infohash, fileIndex: null, trackers, hops, head: null }, signal)
    const metadata = await torrents.knownMetadata(infohash)
    return metadata === null ? { metadata, file } : { metadata, file: null }
  } catch (error) {
    signal.throwIfAborted()
    // Nobody delivers the file at the moment, and yet somebody knew what it is.
    const metadata = await torrents.knownMetadata(infohash)
    if (metadata === null) throw error
    return { metadata, file: null }
  }
}
