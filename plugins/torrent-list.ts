import fp from 'fastify-plugin'
import { TorrentList } from '../services/torrent/torrent-list.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What people added, and what is known of each torrent. */
    torrentList: TorrentList
  }
}

export default fp(async function torrentList (fastify) {
  const { sources, swarm, torrents, cache, stored, events, log, config } = fastify
  const list = await TorrentList.open({
    directory: config.TORRENT_DOWNLOAD_PATH,
    sources,
    torrents,
    cache,
    stored,
    ...swarm === null ? {} : { sharesOf: (infohash: string) => swarm.sharesOf(infohash) },
    events,
    isReadOnly: config.CACHE_READ_ONLY,
    log,
    // One place is left for whoever wants to watch something else.
    maxDownloads: Math.max(1, config.MAX_TORRENTS - 1)
  })
  fastify.decorate('torrentList', list)
  fastify.addHook('preClose', async () => { await list.close() })
}, { name: 'torrent-list', dependencies: ['config', 'events', 'source-chain', 'torrents', 'cache', 'swarm'] })
