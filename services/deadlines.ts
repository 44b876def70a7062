/**
 * How long each wait on the way of a stream may be that no setting decides, in milliseconds. docs/architecture.md has the
 * same table with what happens then; the waits that the operator sets are in `config.ts`.
 */
export const deadlines = {
  /** One way of looking for a `.torrent`, redirects and body included. */
  metadataMs: 5_000,
  /** A source that was told to stop may say so long why, in its own words. */
  lastWordsMs: 200,
  /** From a request to a mirror, or any other server, to the headers of its reply; the connection included. */
  headersMs: 10_000,
  /** A mirror's body that brings less than 16 KiB. */
  bodyMs: 10_000,
  /** A connection that has a piece for a waiting reader and brings nothing: another one is asked for it, too. */
  waitedForMs: 1_000,
  /** The same mirror is asked again beside itself. */
  askAgainMs: 3_000,
  /** A piece may take so long at least, however fast it was expected. */
  pieceMs: 15_000,
  /** A tracker's answer over HTTP. */
  trackerMs: 15_000,
  /** STUN servers that answer, before uTP gets the port that they are asked from; each of them later. */
  natBindMs: 700,
  natMs: 3_000,
  /** Trackers and the DHT are not asked again sooner because a reader is back. */
  announceAgainMs: 60_000,
  /** A peer that says nothing, while others do, loses what it was asked for. */
  peerSilenceMs: 3_000,
  /** The same while a reader waits for what it owes, where it may not answer a probe: it is dialled anew. WebTorrent itself waits 30 s. */
  peerDeafMs: 12_000,
  /** A peer's handshake, before it is dialled the other way. */
  handshakeMs: 4_000,
  /** A request's headers; looked at so often. */
  requestHeadersMs: 15_000,
  requestCheckMs: 5_000,
  /** A request, body included. */
  requestMs: 60_000,
  /** The TLS certificate and its key are looked at so often. */
  certificateMs: 10_000,
  /** The first bytes of a connection to a port that HTTP shares with others. */
  firstBytesMs: 5_000,
  /** A torrent that misses nothing gives to its peers so long as one that does: readers pause for a moment. */
  reciprocityMs: 10_000,
  /** A torrent that runs for others alone, and of which nobody takes anything. */
  seedQuietMs: 1_800_000,
  /** Whether it still does is looked at so often. */
  seedCheckMs: 10_000,
  /** A router that is asked to forward a port; that is looked for. */
  routerMs: 4_000,
  /** A relay's answer to our wish to be introduced (BEP 55). */
  rendezvousMs: 3_000,
  /** SYNs into a hole that is being punched. */
  holeMs: 4_000,
  /** A body of a mirror that is streamed unverified. */
  unverifiedBodyMs: 30_000,
  /** WebTor's REST API; finding a torrent's metadata in its swarm. */
  webtorMs: 20_000,
  webtorMetadataMs: 190_000,
  /** A subtitle file, from the request to its last byte. */
  subtitleMs: 60_000,
  /** A program that makes a piece of a film for players, and neither reads nor writes: so long after RESPONSE_STALL_LIMIT. */
  mediaMs: 60_000,
  /** Where a piece takes longer, its headers leave: players count until these are there. */
  mediaHeadersMs: 5_000,
  /** Trackers and the DHT, asked who has a torrent that is not joined; the whole answer about its health. */
  surveyMs: 2_500,
  healthMs: 3_000,
  /** The metadata of a torrent for a list of an addon: Stremio's clients wait some ten seconds. */
  addonMs: 8_000,
  /** Other addons that are asked for their streams, and what their torrents are good for: all of it. */
  upstreamsMs: 4_000,
  /** The manifest of another addon; so much of it a list of streams waits for. */
  manifestMs: 6_000,
  manifestWaitMs: 1_500,
  /** A preload, from its request to its last piece. */
  preloadMs: 300_000,
  /** The swarm's process, without a sign of life. */
  swarmProcessMs: 20_000,
  /** A source that is read and neither delivers nor receives, the disk included: so many times STALL_TIMEOUT. */
  silenceTurns: 3,
  /** What readers need is compared with what is fetched so often. */
  watchdogMs: 5_000,
  /** The download directory is looked at so often, and has so long to answer. */
  storeMs: 5_000,
  /** The disk's answer for /metrics. */
  scrapeMs: 2_000,
  /** At a stop: open streams of which no client takes a byte are not waited for. */
  quietMs: 2_000,
  /** At a stop: what does not end by itself, a paused player or a silent connection, is cut. */
  cutMs: 500,
  /** From the end of the streams to the end of the process: the swarm's process has 3 s of it. */
  stopMs: 4_700,
  /** A stream of events in which nothing happens says that it is alive. */
  eventHeartbeatMs: 15_000
} as const
