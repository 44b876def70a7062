import { classify, publicEndpointOf } from '../services/nat/classify.ts'
import { NatCoordinator } from '../services/nat/coordinator.ts'

/**
 * Finds out the kind of NAT as the swarm's process does, and prints it: `node nat-probe.ts PORT SERVER…`. For tests that
 * run it where the NAT is.
 */
const [port, ...stunServers] = process.argv.slice(2)
const torrentPort = Number(port)
const startedAt = performance.now()
const { promise, resolve } = Promise.withResolvers<void>()
const nat: NatCoordinator = new NatCoordinator({
  stunServers,
  allowPrivateNetworks: false,
  onChange: () => { if (!nat.facts.isPending) resolve() }
})
await nat.beforeBind(torrentPort)
const bindMs = performance.now() - startedAt
nat.start()
await promise
const { localAddresses, facts } = nat
const ports = { tcp: torrentPort, utp: torrentPort, dht: torrentPort, isOnePort: false, wanted: torrentPort, missing: [] }
const verdict = classify(facts, { localAddresses, ports })
const publicEndpoint = publicEndpointOf(facts, { localAddresses, ports, mapping: null })
process.stdout.write(JSON.stringify({ verdict, publicEndpoint, bindMs, totalMs: performance.now() - startedAt, facts }))
process.exit(0)
