import type { Torrent, Wire } from 'webtorrent'

/**
 * Keeps back the metadata that peers send, and that of a `.torrent` the torrent was added with, until the returned
 * function is called: then the torrent gets this `.torrent` and exactly this bitfield, hashes nothing, keeps the peers
 * it has and becomes ready. Call it right after `add`, and the returned function once, after 'infoHash'.
 */
export function holdMetadata (torrent: Torrent, infohash: string): (metadata: Uint8Array, bitfield: Uint8Array) => Promise<void> {
  const onMetadata = torrent._onMetadata.bind(torrent)
  torrent._onMetadata = async () => {}
  // WebTorrent hashes a re-encoding: of an info dictionary with unsorted keys it would take another infohash.
  const keepInfohash = (): void => { torrent.infoHash = infohash }
  torrent.on('_infoHash', keepInfohash)
  torrent.on('metadata', keepInfohash)
  return async (metadata, bitfield) => {
    torrent._startupBitfield = bitfield
    // It would read and hash one piece of each file, and hash everything when there are none.
    torrent._verifyPieces = (done) => { done(null) }
    await onMetadata(metadata)
  }
}

/** Calls back with the raw info dictionary that this peer has sent (BEP 9), its hash checked. */
export function onInfo (wire: Wire, callback: (info: Uint8Array) => void): void {
  // The event's own argument is a re-encoding.
  wire.ut_metadata.on('metadata', () => {
    if (wire.ut_metadata.metadata !== undefined) callback(wire.ut_metadata.metadata)
  })
}
