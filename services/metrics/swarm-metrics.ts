import { readAtScrape } from './read-at-scrape.ts'
import type { Registry } from 'prom-client'
import type { NetworkReport, VerdictKind } from '../nat/network-report.ts'
import type { Swarm } from '../swarm/swarm.ts'

const kinds = ['no NAT', 'full cone', 'address restricted', 'port restricted', 'symmetric', 'UDP blocked', 'unknown'] as const satisfies readonly VerdictKind[]
const states = ['starting', 'ready', 'unavailable', 'closed'] as const

/** What the swarm's process has told last. Its own counts begin anew when it is started again. */
export function swarmMetrics (registry: Registry, swarm: Swarm): void {
  const network = (): NetworkReport => swarm.network
  readAtScrape(registry, 'gauge', [
    { name: 'self_streme_swarm_state', help: 'State of the swarm process: 1 for the one that it is in.', labels: ['state'], read: () => states.map((state) => [[state], swarm.status.state === state ? 1 : 0]) },
    { name: 'self_streme_swarm_peers', help: 'Peers of all torrents: connected, and known in all.', labels: ['state'], read: () => [[['connected'], swarm.totals.peersConnected], [['known'], swarm.totals.peersKnown]] },
    { name: 'self_streme_swarm_dht_nodes', help: 'Nodes in the routing table of the DHT.', read: () => network().dhtNodes },
    { name: 'self_streme_swarm_speed_bytes_per_second', help: 'What peers send and get now.', labels: ['direction'], read: () => [[['down'], swarm.totals.downloadSpeed], [['up'], swarm.totals.uploadSpeed]] },
    { name: 'self_streme_swarm_bans', help: 'Addresses that are banned now.', read: () => network().bans },
    { name: 'self_streme_nat', help: 'The kind of NAT that this machine is behind: 1 for the verdict.', labels: ['kind'], read: () => kinds.map((kind) => [[kind], network().verdict.kind === kind ? 1 : 0]) },
    { name: 'self_streme_swarm_inbound', help: 'Connections that strangers began.', labels: ['transport'], read: () => (['tcp', 'utp'] as const).map((transport) => [[transport], network().inbound[transport].count]) },
    { name: 'self_streme_swarm_hole_punches', help: 'Holes that were tried and won, by our part in it.', labels: ['role', 'result'], read: () => (['initiator', 'target'] as const).flatMap((role) => (['tried', 'won'] as const).map((result) => [[role, result], network().holePunches[role][result]] as const)) }
  ])
  readAtScrape(registry, 'counter', [
    { name: 'self_streme_swarm_bytes_total', help: 'Blocks of pieces from peers (down), verified or not, and to them (up).', labels: ['direction'], read: () => [[['down'], swarm.totals.receivedBytes], [['up'], swarm.totals.uploadedBytes]] }
  ])
}
