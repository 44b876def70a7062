import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'
import { startWatchdog } from '../services/watchdog.ts'
import { Torrents } from '../services/torrent/torrents.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The torrents that run: their metadata, stores and fillers. */
    torrents: Torrents
  }
}

export default fp(async function torrents (fastify) {
  const { TORRENT_DOWNLOAD_PATH, LINGER, MAX_TORRENTS } = fastify.config
  const torrents = new Torrents({
    directory: TORRENT_DOWNLOAD_PATH,
    stored: fastify.stored,
    room: fastify.budget,
    use: fastify.lastUse,
    resolver: fastify.metadata,
    lingerMs: LINGER * 1000,
    maxTorrents: MAX_TORRENTS,
    log: fastify.log
  })
  fastify.decorate('torrents', torrents)
  const stopWatchdog = startWatchdog({ torrents, intervalMs: deadlines.watchdogMs, log: fastify.log })
  fastify.addHook('onClose', async () => {
    stopWatchdog()
    await torrents.close()
  })
}, { name: 'torrents', dependencies: ['config', 'stored-files', 'budget', 'metadata'] })
