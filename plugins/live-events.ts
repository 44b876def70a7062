import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'
import { linksFrom } from '../services/links.ts'
import { LiveEvents } from '../services/live-events.ts'
import { TorrentWatch } from '../services/torrent/torrent-watch.ts'
import { torrentView } from '../services/torrent/torrent-view.ts'
import type { ServerEvent } from '../services/events.ts'
import type { Links } from '../services/links.ts'
import type { Published } from '../services/live-events.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What happens, for clients that follow it. */
    live: LiveEvents
  }
}

export default fp(async function liveEvents (fastify) {
  const { events, swarm, torrents, torrentList, access, config, log } = fastify
  const live = new LiveEvents({ heartbeatMs: deadlines.eventHeartbeatMs })
  const watch = new TorrentWatch({ torrents, torrentList, events, isFollowed: () => live.size > 0, log })
  events.listen((event) => { live.publish(publishedOf(event, linksFrom(config.BASE_URL, access.ownerGrant))) })
  swarm?.on('network', () => {
    const { status: { state, reason }, network } = swarm
    live.publish({ type: 'network', infohash: null, data: { state, reason, ...network, at: new Date().toISOString() }, latestOf: 'network' })
  })
  fastify.decorate('live', live)
  // Before the server closes, or it would wait for those who follow.
  fastify.addHook('preClose', async () => { live.close() })
  fastify.addHook('onClose', async () => { await watch.close() })
}, { name: 'live-events', dependencies: ['config', 'events', 'swarm', 'torrents', 'torrent-list', 'access'] })

function publishedOf (event: ServerEvent, links: Links): Published {
  const at = new Date().toISOString()
  if (event.type === 'progress') {
    const { type, infohash, torrent } = event
    return { type, infohash, data: { ...torrentView(torrent, links), at }, latestOf: `progress ${infohash}` }
  }
  const { type, infohash, ...data } = event
  return { type, infohash, data: { infoHash: infohash, ...data, at } }
}
