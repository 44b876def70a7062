import { natPmpRouter } from '../services/nat/mapping/pcp.ts'
import { PortMapper } from '../services/nat/mapping/port-mapper.ts'

/**
 * Has the router forward a port with a short lease and prints each status, for tests that run it where the router is:
 * `node mapping-probe.ts PORT SECONDS [nat-pmp]`. Ends, and takes it back, when its stdin ends.
 */
const [port, seconds, way] = process.argv.slice(2)
const number = Number(port)
const mapper = new PortMapper({
  ports: { tcp: number, udp: number },
  lifetimeSeconds: Number(seconds),
  onChange: (status) => { process.stdout.write(`${JSON.stringify(status)}\n`) },
  // A router that speaks PCP is not asked by NAT-PMP otherwise.
  ...(way === 'nat-pmp' ? { ways: [async (place) => natPmpRouter(place)] } : {})
})
mapper.start()
process.stdin.resume().on('end', () => { void mapper.stop(AbortSignal.timeout(2_000)).then(() => { process.exit(0) }) })
