import { open } from 'node:fs/promises'
import fp from 'fastify-plugin'
import { memoryBudget, memoryLimits } from '../services/memory-budget.ts'
import { sourcesOff } from '../services/filling.ts'
import { DhtFile } from '../services/swarm/dht-file.ts'
import { SharesFile } from '../services/swarm/shares-file.ts'
import { Swarm } from '../services/swarm/swarm.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** The swarm process, seen from here; null where P2P is switched off. */
    swarm: Swarm | null
  }
}

export default fp(async function swarm (fastify) {
  const { config } = fastify
  const isOn = sourcesOff(config).p2p === undefined
  // Whoever wants some peers blocked does not want to start with nobody blocked.
  if (isOn && config.P2P_BLOCKLIST !== null) await checkReadable('P2P_BLOCKLIST', config.P2P_BLOCKLIST)
  const isPortShared = config.TORRENT_PORT === config.PORT && config.PORT !== 0
  const { swarmHeapMb, piecesInFlightBytes } = memoryBudget(memoryLimits())
  const kept = { directory: config.TORRENT_DOWNLOAD_PATH, isReadOnly: config.CACHE_READ_ONLY, log: fastify.log }
  const swarm = isOn
    ? new Swarm({
      port: config.TORRENT_PORT,
      transport: config.TORRENT_TRANSPORT,
      isPortShared,
      trackers: config.TRACKERS,
      dhtBootstrap: config.DHT_BOOTSTRAP,
      iceServers: iceServers(config),
      staticPeers: config.STATIC_PEERS,
      dhtFile: await DhtFile.open(kept),
      sharesFile: await SharesFile.open(kept),
      blocklistPath: config.P2P_BLOCKLIST,
      uploadLimitBytes: config.UPLOAD_LIMIT === null ? -1 : config.UPLOAD_LIMIT * 1000,
      downloadLimitBytes: config.DOWNLOAD_LIMIT === null ? -1 : config.DOWNLOAD_LIMIT * 1000,
      seedRatio: config.SEED_RATIO,
      isPortMappingEnabled: config.ENABLE_PORT_MAPPING,
      isLsdEnabled: !config.isPanel,
      stunServers: config.STUN_SERVERS,
      isPanel: config.isPanel,
      allowPrivateNetworks: config.HTTP_ALLOW_PRIVATE_NETWORKS,
      heapMb: swarmHeapMb,
      windowBytes: piecesInFlightBytes,
      log: fastify.log
    })
    : null
  fastify.decorate('swarm', swarm)
  swarm?.start()
  if (swarm !== null && isPortShared && config.TORRENT_TRANSPORT !== 'utp') {
    fastify.sharedPort.take('bittorrent', (socket, bytes) => { swarm.takeConnection(socket, bytes) })
  }
  fastify.addHook('onClose', async () => { await swarm?.close() })
}, { name: 'swarm', dependencies: ['config', 'lock', 'shared-port'] })

async function checkReadable (variable: string, path: string): Promise<void> {
  try {
    await (await open(path)).close()
  } catch (error) {
    throw new Error(`${variable} names a file that cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

function iceServers ({ STUN_SERVERS, TURN_URLS, TURN_USERNAME, TURN_CREDENTIAL }: {
  STUN_SERVERS: readonly string[], TURN_URLS: readonly string[], TURN_USERNAME: string | null, TURN_CREDENTIAL: string | null
}): object[] {
  const stun = STUN_SERVERS.map((server) => ({ urls: server.startsWith('stun:') ? server : `stun:${server}` }))
  const turn = TURN_URLS.map((urls) => ({ urls, username: TURN_USERNAME ?? '', credential: TURN_CREDENTIAL ?? '' }))
  return [...stun, ...turn]
}
