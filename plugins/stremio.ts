import fp from 'fastify-plugin'
import { newHop } from '../services/download/via.ts'
import { SettingsSeal } from '../services/stremio/addon-settings.ts'
import { Alternatives } from '../services/stremio/alternatives.ts'
import { Library } from '../services/stremio/library.ts'
import { UpstreamManifests } from '../services/stremio/upstream-manifests.ts'
import { Upstreams } from '../services/stremio/upstreams.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What is here, as catalogs of a Stremio addon. */
    library: Library
    /** Other addons, whose torrents become streams of this server. */
    upstreams: Upstreams
    upstreamManifests: UpstreamManifests
    /** Torrents that play in place of others. */
    alternatives: Alternatives
    /** Settings of the addon, in addresses. */
    addonSeal: SettingsSeal
    /** This server's name in the `Via` of what it asks others because a client asked it. */
    addonHop: string
  }
}

export default fp(async function stremio (fastify) {
  const { torrentList: list, torrents, fetcher, cache, torrentHealth: health, log } = fastify
  const hop = newHop()
  fastify.decorate('library', new Library({ list, torrents }))
  fastify.decorate('addonHop', hop)
  fastify.decorate('addonSeal', new SettingsSeal(fastify.access.keyFor('addon settings')))
  fastify.decorate('alternatives', new Alternatives())
  const manifests = new UpstreamManifests({ fetcher, hop })
  fastify.decorate('upstreamManifests', manifests)
  fastify.decorate('upstreams', new Upstreams({ fetcher, cache, torrents, health, manifests, hop, log }))
}, { name: 'stremio', dependencies: ['torrent-list', 'torrents', 'fetcher', 'cache', 'torrent-health', 'access'] })
