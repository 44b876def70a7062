import { silent } from '../../../services/log.ts'
import { Swarm } from '../../../services/swarm/swarm.ts'

/** A server that only has a swarm: prints the process id of the swarm once that is ready, and waits to be killed. */
const swarm = new Swarm({
  port: 0,
  trackers: [],
  dhtBootstrap: [],
  iceServers: [],
  staticPeers: [],
  uploadLimitBytes: -1,
  downloadLimitBytes: -1,
  seedRatio: 1,
  isPortMappingEnabled: false,
  isLsdEnabled: false,
  stunServers: [],
  isPanel: false,
  allowPrivateNetworks: true,
  log: silent
})
swarm.start()
await swarm.ready(AbortSignal.timeout(30_000))
process.stdout.write(`${swarm.pid}\n`)
