import { readFile } from 'node:fs/promises'
import t from 'tap'
import { adviceOf, classify, noFacts, publicEndpointOf } from '../../../services/nat/classify.ts'
import type { NatFacts, Surroundings } from '../../../services/nat/classify.ts'
import { emptyReport } from '../../../services/nat/network-report.ts'
import type { MappingStatus } from '../../../services/nat/network-report.ts'

const home = '192.168.1.20'
const outside = '45.67.1.2'
const ports = { tcp: 6_881, utp: 6_881, dht: 6_881, isOnePort: false, wanted: 6_881, missing: [] }
const around: Surroundings = { ...emptyReport('', ''), localAddresses: [home], ports, isPanel: false }
const mapped: MappingStatus = { state: 'mapped', protocol: 'UPnP', externalAddress: outside, externalTcpPort: 6_881, externalUdpPort: 6_881, expiresAt: null, reason: '' }

/** Two of three servers answered, from behind a NAT. */
const heard: NatFacts = { ...noFacts, stun: { configured: 3, asked: 3, answered: 2, failures: [] }, seen: { address: outside, port: 6_881 }, isTranslated: true }
const silence: NatFacts = { ...noFacts, stun: { configured: 3, asked: 3, answered: 0, failures: [] } }
const told = { address: outside, port: 6_881, isSamePort: true } as const

const eim = 'endpoint-independent'
const adm = 'address-dependent'
const apdm = 'address-and-port-dependent'

t.test('the facts decide about the kind of NAT, and how sure that is', async (t) => {
  const rows: Array<[Record<string, unknown>, NatFacts, Surroundings?]> = [
    // With a server that has two addresses.
    [{ kind: 'full cone', confidence: 'high', sources: ['rfc5780'] }, { ...heard, mapping: eim, isByRfc5780: true, filtering: eim }],
    [{ kind: 'address restricted', confidence: 'high' }, { ...heard, mapping: eim, isByRfc5780: true, filtering: adm }],
    [{ kind: 'port restricted', confidence: 'high' }, { ...heard, mapping: eim, isByRfc5780: true, filtering: apdm }],
    [{ kind: 'symmetric', confidence: 'high' }, { ...heard, mapping: adm, isByRfc5780: true }],
    [{ kind: 'symmetric', confidence: 'high' }, { ...heard, mapping: apdm, isByRfc5780: true, filtering: eim }],
    [{ kind: 'no NAT', confidence: 'high' }, { ...heard, isTranslated: false, mapping: eim, filtering: eim }],
    [{ kind: 'no NAT', confidence: 'high', reason: /firewall lets in only who/ }, { ...heard, isTranslated: false, mapping: eim, filtering: apdm }],
    // Without.
    [{ kind: 'symmetric', confidence: 'medium', sources: ['stun'] }, { ...heard, mapping: apdm }],
    [{ kind: 'port restricted', confidence: 'low', filtering: null }, { ...heard, mapping: eim }],
    [{ kind: 'no NAT', confidence: 'medium', filtering: null }, { ...heard, isTranslated: false, mapping: eim }],
    [{ kind: 'no NAT', confidence: 'medium' }, { ...heard, isTranslated: false }],
    [{ kind: 'unknown', reason: /there is a NAT/ }, heard],
    // STUN is silent, or off.
    [{ kind: 'unknown', isPending: true }, { ...silence, isPending: true }],
    [{ kind: 'UDP blocked', confidence: 'low', reason: /none of 3 STUN servers answered$/ }, silence],
    [{ kind: 'UDP blocked', confidence: 'medium', reason: /nor did any node/ }, { ...silence, isDhtSilent: true }],
    [{ kind: 'unknown' }, { ...silence, stun: { ...silence.stun, asked: 1 } }],
    [{ kind: 'unknown', reason: /no STUN server could be asked \(stun\.example:1: no name\)/ }, { ...silence, stun: { ...silence.stun, asked: 0, failures: ['stun.example:1: no name'] } }],
    [{ kind: 'unknown', reason: /but UDP works/ }, { ...silence, hasDhtAnswer: true }],
    [{ kind: 'unknown', sources: ['utp'] }, { ...silence, hasUtpPeer: true }],
    [{ kind: 'unknown', reason: /STUN_SERVERS=none/ }, noFacts],
    // Only strangers tell.
    [{ kind: 'port restricted', confidence: 'low', sources: ['dht'] }, { ...noFacts, hasDhtAnswer: true, dht: told }],
    [{ kind: 'symmetric', confidence: 'low' }, { ...noFacts, hasDhtAnswer: true, dht: { ...told, port: null, isSamePort: false } }],
    [{ kind: 'no NAT', confidence: 'medium' }, { ...noFacts, hasDhtAnswer: true, dht: told }, { ...around, localAddresses: [outside] }],
    [{ kind: 'unknown', sources: ['peers'] }, { ...noFacts, peers: { address: outside } }],
    [{ kind: 'no NAT', confidence: 'low', sources: ['peers'] }, { ...noFacts, peers: { address: outside } }, { ...around, localAddresses: [outside] }],
    // They do not overrule what was tested.
    [{ kind: 'full cone', confidence: 'high', sources: ['rfc5780', 'dht'] }, { ...heard, mapping: eim, isByRfc5780: true, filtering: eim, dht: { ...told, port: null, isSamePort: false } }]
  ]
  const document = await readFile(new URL('../../../docs/TROUBLESHOOTING_P2P.md', import.meta.url), 'utf8')
  const beginnings = [.../### `unknown`\n([^]*?)\n#/.exec(document)?.[1]?.matchAll(/^\| `(.+?)` \|/gm) ?? []].map(([, text = '']) => text.replaceAll(/\d+/g, 'N'))
  for (const [verdict, facts, surroundings = around] of rows) {
    const found = classify(facts, surroundings)
    t.match(found, verdict)
    if (found.kind === 'unknown') t.ok(beginnings.some((text) => found.reason.replaceAll(/\d+/g, 'N').startsWith(text)), `the document explains: ${found.reason}`)
  }
})

t.test('without uTP the verdict says that there is no hole punching', async (t) => {
  const without = { ...ports, utp: null }
  const missing = [{ what: 'utp', reason: 'no binary' }] as const
  t.match(classify({ ...heard, mapping: eim }, { ...around, ports: { ...without, missing } }).reason, /uTP is not available on this platform, so there is no hole punching/)
  t.match(classify({ ...heard, mapping: eim }, { ...around, ports: without }).reason, /uTP is switched off \(TORRENT_TRANSPORT=tcp\), so there is no hole punching/)
  t.notMatch(classify({ ...heard, mapping: eim }, around).reason, /uTP/)
})

t.test('the public endpoint is what STUN saw, then what strangers saw, then what the router or this machine believes', async (t) => {
  const dht = told
  const router: Surroundings = { ...around, mapping: { ...mapped, externalTcpPort: 7_000 } }
  t.same(publicEndpointOf({ ...heard, dht }, around), { address: outside, port: 6_881, source: 'stun' })
  t.same(publicEndpointOf({ ...heard, seen: { address: outside, port: null } }, around), { address: outside, port: null, source: 'stun' })
  t.same(publicEndpointOf({ ...heard, seen: { address: outside, port: null }, dht: { ...dht, port: 9 } }, around), { address: outside, port: 9, source: 'stun' }, 'the DHT is on the torrent port')
  t.same(publicEndpointOf({ ...noFacts, dht }, around), { address: outside, port: 6_881, source: 'dht' })
  t.same(publicEndpointOf({ ...noFacts, dht }, { ...around, ports: { ...ports, dht: 7_000 } }), { address: outside, port: null, source: 'dht' }, 'of another socket')
  t.same(publicEndpointOf({ ...noFacts, peers: { address: outside } }, around), { address: outside, port: null, source: 'peers' })
  t.same(publicEndpointOf(heard, router), { address: outside, port: 7_000, source: 'stun' }, 'what the router forwards')
  t.same(publicEndpointOf(noFacts, router), { address: outside, port: 7_000, source: 'router' })
  t.same(publicEndpointOf(heard, { ...around, mapping: { ...mapped, externalAddress: '100.64.1.1', externalTcpPort: 7_000 } }), { address: outside, port: 6_881, source: 'stun' }, 'behind two NATs that is not public')
  t.same(publicEndpointOf(noFacts, { ...around, localAddresses: ['fe80::1', outside] }), { address: outside, port: 6_881, source: 'interface' })
  t.same(publicEndpointOf({ ...heard, isTranslated: false, seen: { address: outside, port: null } }, { ...around, localAddresses: [outside] }), { address: outside, port: 6_881, source: 'stun' })
  t.equal(publicEndpointOf(noFacts, around), null)
})

t.test('the advice is one sentence that says what to do', async (t) => {
  const restricted: NatFacts = { ...heard, mapping: eim, isByRfc5780: true, filtering: apdm, route: { name: 'eth0', address: home } }
  const symmetric: NatFacts = { ...restricted, mapping: apdm }
  const failed: MappingStatus = { ...mapped, state: 'failed', protocol: null, externalAddress: null, reason: 'no router answered' }
  const inbound = { tcp: { count: 1, lastAt: '2026-01-01T00:00:00Z' }, utp: { count: 0, lastAt: null } }
  const rows: Array<[RegExp, NatFacts, Partial<Surroundings>?]> = [
    [/^Wait a moment/, { ...silence, isPending: true }],
    [/^Allow outgoing UDP/, silence],
    [/^Allow outgoing UDP/, silence, { inbound }],
    [/^Nothing needs to be done: peers reach/, symmetric, { inbound }],
    [/^Nothing needs to be done: the router forwards port 6881 \(UPnP\)/, restricted, { mapping: mapped }],
    [/behind another NAT itself \(its address is 100\.64\.1\.1\)/, restricted, { mapping: { ...mapped, externalAddress: '100.64.1.1' } }],
    [/behind another NAT itself \(its address is 45\.67\.9\.9\)/, restricted, { mapping: { ...mapped, externalAddress: '45.67.9.9' } }],
    [/^Forward port 6881, TCP and UDP, to 192\.168\.1\.20 in the router: .*hole punching only/, restricted],
    [/did not do it by itself \(no router answered\)/, restricted, { mapping: failed }],
    [/^Forward port 6881.*keeps most holes shut \(TURN_URLS/, symmetric],
    [/^Forward port 6881.*uTP gets through as it is/, { ...restricted, filtering: eim }],
    [/^Forward port 6881.*uTP is not available on this platform, so no hole can be punched/, restricted, { ports: { ...ports, utp: null, missing: [{ what: 'utp', reason: 'no binary' }] } }],
    [/^Set TORRENT_PORT to a port that the panel has allocated/, restricted, { isPanel: true }],
    [/^Have the VPN forward a port to wg0/, { ...restricted, route: { name: 'wg0', address: '10.2.0.2' } }],
    [/^Nothing needs to be done: port 6881 is open/, { ...heard, isTranslated: false, mapping: eim, filtering: eim }],
    [/^Open port 6881, TCP and UDP, in the firewall, so/, { ...heard, isTranslated: false, mapping: eim, filtering: apdm }],
    [/^Open port 6881.*allocate it to this server/, { ...heard, isTranslated: false, mapping: eim }, { isPanel: true }],
    [/^Set STUN_SERVERS, so/, noFacts],
    [/way to the internet/, { ...silence, stun: { ...silence.stun, asked: 0 } }],
    [/^Set STUN_SERVERS to servers that answer/, { ...silence, hasUtpPeer: true }]
  ]
  for (const [advice, facts, surroundings = {}] of rows) {
    const all = { ...around, ...surroundings }
    const text = adviceOf(classify(facts, all), facts, all)
    t.match(text, advice)
    t.match(text, /^[A-Z][^]*\.$/)
    t.notMatch(text, /\. [A-Z]/, 'one sentence')
  }
})
