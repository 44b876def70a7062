import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { classify } from '../../../services/nat/classify.ts'
import { NatCoordinator } from '../../../services/nat/coordinator.ts'
import type { NatOptions } from '../../../services/nat/coordinator.ts'
import { freePort, until } from '../../testnet.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import { startFakeStun } from './fake-stun.ts'
import type { FakeStun } from './fake-stun.ts'

const both = ['127.0.0.1', '127.0.0.2'] as const
const nameOf = ({ endpoint }: FakeStun): string => `${endpoint.address}:${endpoint.port}`

function makeCoordinator (t: Test, servers: readonly FakeStun[], options: Partial<NatOptions> = {}): { nat: NatCoordinator, kind: () => string, changes: () => number } {
  let changes = 0
  const nat = new NatCoordinator({ stunServers: servers.map(nameOf), allowPrivateNetworks: true, onChange: () => { changes++ }, clock: new SimulatedClock(), ...options })
  t.teardown(() => { nat.close() })
  const ports = { tcp: 1, utp: 1, dht: 1, isOnePort: false, wanted: 1, missing: [] }
  return { nat, kind: () => classify(nat.facts, { localAddresses: nat.localAddresses, ports }).kind, changes: () => changes }
}

/** A clock that runs when it is told to. */
class ManualClock extends SimulatedClock {
  ms = 0
  readonly #timers: Array<{ at: number, then: () => void }> = []

  override now (): number {
    return this.ms
  }

  override after (ms: number, then: () => void): () => void {
    const timer = { at: this.ms + ms, then }
    this.#timers.push(timer)
    return () => { this.#timers.splice(this.#timers.indexOf(timer), 1) }
  }

  advance (ms: number): void {
    this.ms += ms
    for (const timer of this.#timers.filter(({ at }) => at <= this.ms)) {
      this.#timers.splice(this.#timers.indexOf(timer), 1)
      timer.then()
    }
  }
}

t.test('the port is asked about before it is bound, and is free afterwards', async (t) => {
  const server = await startFakeStun(t, { addresses: both })
  const { nat, kind, changes } = makeCoordinator(t, [server])
  const port = await freePort()
  t.match(nat.facts, { isPending: true, seen: null })
  await nat.beforeBind(port)
  t.ok(changes() > 0)
  t.ok(server.requests.every(({ source }) => source.port === port))
  t.match(nat.facts, { isPending: true, seen: { port }, isTranslated: false, filtering: null })
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  socket.bind(port)
  await once(socket, 'listening')
  nat.start()
  await until('the tests are over', () => !nat.facts.isPending)
  t.match(nat.facts, { filtering: 'endpoint-independent', isByRfc5780: true, seen: { port }, route: { address: '127.0.0.1' } })
  t.equal(kind(), 'no NAT')
})

t.test('nobody answers -> the start waits less than half a second for them', async (t) => {
  const servers = [await startFakeStun(t, { loses: Infinity }), await startFakeStun(t, { loses: Infinity, addresses: ['127.0.0.2'] })]
  const { nat } = makeCoordinator(t, servers)
  const startedAt = performance.now()
  await nat.beforeBind(await freePort())
  t.ok(performance.now() - startedAt < 1_000, `${performance.now() - startedAt} ms`)
  t.match(nat.facts, { isPending: true, seen: null, stun: { answered: 0 } })
  t.same(servers.map(({ requests }) => requests.length), [1, 1], 'it was over before anybody was asked again')
})

t.test('somebody answers -> the others have a little longer', async (t) => {
  const servers = [await startFakeStun(t), await startFakeStun(t, { delayMs: 450, addresses: ['127.0.0.2'] })]
  const { nat } = makeCoordinator(t, servers)
  await nat.beforeBind(await freePort())
  t.match(nat.facts, { mapping: 'endpoint-independent', stun: { answered: 2 } })
})

t.test('the port is taken, or there are no servers -> nothing is waited for', async (t) => {
  const server = await startFakeStun(t)
  await makeCoordinator(t, [server]).nat.beforeBind(server.endpoint.port)
  const { nat, kind } = makeCoordinator(t, [])
  await nat.beforeBind(0)
  nat.start()
  t.match(nat.facts, { isPending: false, stun: { configured: 0 } })
  t.equal(kind(), 'unknown')
})

t.test('all servers are silent -> UDP is blocked, until a node of the DHT or a peer shows that it is not', async (t) => {
  const servers = await Promise.all(['127.0.0.1', '127.0.0.2'].map(async (address) => await startFakeStun(t, { loses: Infinity, addresses: [address] })))
  for (const word of ['dht', 'utp'] as const) {
    const { nat, kind } = makeCoordinator(t, servers)
    nat.start()
    await until('the tests are over', () => !nat.facts.isPending)
    t.equal(kind(), 'UDP blocked')
    nat.sawDht('1.0.0.1', false, null)
    t.equal(nat.facts.isDhtSilent, false, 'one node may be gone')
    nat.sawDht('1.0.0.2', false, null)
    t.equal(nat.facts.isDhtSilent, true)
    t.equal(kind(), 'UDP blocked')
    if (word === 'dht') nat.sawDht('1.0.0.3', true, null)
    else nat.sawUtpPeer('1.0.0.3')
    t.equal(kind(), 'unknown')
  }
})

t.test('without STUN, three nodes of the DHT tell the endpoint and the mapping, one does not', async (t) => {
  const { nat, kind } = makeCoordinator(t, [])
  nat.sawDht('1.0.0.1', true, { address: '45.67.1.2', port: 5 })
  nat.sawDht('1.0.0.1', true, { address: '45.67.1.2', port: 5 })
  nat.sawDht('1.0.0.2', true, { address: '45.67.1.2', port: 5 })
  t.match(nat.facts, { dht: null, hasDhtAnswer: true })
  nat.sawDht('1.0.0.4', true, { address: '6.6.6.6', port: 5 })
  nat.sawDht('1.0.0.3', true, { address: '45.67.1.2', port: 5 })
  t.match(nat.facts, { dht: { address: '45.67.1.2', port: 5, isSamePort: true } })
  t.equal(kind(), 'port restricted')
  for (let i = 5; i < 20; i++) nat.sawDht(`1.0.0.${i}`, true, { address: '45.67.1.2', port: 1_000 + i })
  t.match(nat.facts, { dht: { address: '45.67.1.2', port: null, isSamePort: false } })
  t.equal(kind(), 'symmetric')
})

t.test('peers tell the address; what is said on a private network says nothing', async (t) => {
  const { nat } = makeCoordinator(t, [], { allowPrivateNetworks: false })
  for (let i = 1; i < 9; i++) {
    nat.sawPeer(`192.168.1.${i}`, '45.67.1.2')
    nat.sawPeer(`1.0.0.${i}`, '192.168.1.9')
    nat.sawDht(`10.0.0.${i}`, true, { address: '45.67.1.2', port: 5 })
    nat.sawUtpPeer(`10.0.0.${i}`)
  }
  t.match(nat.facts, { peers: null, dht: null, hasDhtAnswer: false, hasUtpPeer: false })
  for (let i = 1; i < 4; i++) nat.sawPeer(`1.0.0.${i}`, '45.67.1.2')
  t.match(nat.facts, { peers: { address: '45.67.1.2' } })
})

t.test('another local address -> all is tested again, from other ports than the torrent\'s', async (t) => {
  const server = await startFakeStun(t, { addresses: both })
  const clock = new ManualClock()
  let interfaces = [{ name: 'eth0', address: '10.0.0.2' }]
  const { nat } = makeCoordinator(t, [server], { clock, interfaces: () => interfaces })
  const port = await freePort()
  await nat.beforeBind(port)
  nat.start()
  await until('the tests are over', () => !nat.facts.isPending)
  nat.sawDht('1.0.0.1', true, null)
  const asked = server.requests.length
  clock.advance(15_000)
  t.equal(nat.facts.isPending, false, 'the network is the same')
  interfaces = [{ name: 'eth0', address: '10.0.0.2' }, { name: 'eth0', address: '2001:db8::1' }]
  clock.advance(15_000)
  t.equal(nat.facts.isPending, false, 'IPv6 addresses come and go')
  interfaces = [{ name: 'wg0', address: '10.9.0.2' }]
  clock.advance(15_000)
  t.match(nat.facts, { isPending: true, seen: null, hasDhtAnswer: false })
  t.same(nat.localAddresses, ['10.9.0.2'])
  await until('the tests are over', () => !nat.facts.isPending)
  t.match(nat.facts, { seen: { address: '127.0.0.1', port: null }, filtering: 'endpoint-independent' })
  t.notOk(server.requests.slice(asked).some(({ source }) => source.port === port))
})

t.test('strangers see another address -> it is tested again, once', async (t) => {
  const server = await startFakeStun(t, { addresses: both })
  const clock = new ManualClock()
  const { nat } = makeCoordinator(t, [server], { clock })
  nat.start()
  await until('the tests are over', () => !nat.facts.isPending)
  for (let i = 1; i < 4; i++) nat.sawDht(`1.0.0.${i}`, true, { address: '45.67.9.9', port: 5 })
  t.equal(nat.facts.isPending, false, 'not so soon')
  clock.advance(60_000)
  t.equal(nat.facts.isPending, true)
  await until('the tests are over', () => !nat.facts.isPending)
  const asked = server.requests.length
  clock.advance(60_000)
  for (let i = 4; i < 9; i++) nat.sawDht(`1.0.0.${i}`, true, { address: '45.67.9.9', port: 5 })
  t.equal(nat.facts.isPending, false)
  t.equal(server.requests.length, asked)
})

t.test('nobody answered -> they are asked again after a minute, then later and later', async (t) => {
  const server = await startFakeStun(t, { loses: Infinity })
  const clock = new ManualClock()
  const { nat } = makeCoordinator(t, [server], { clock })
  nat.start()
  await until('the tests are over', () => !nat.facts.isPending)
  clock.advance(45_000)
  t.equal(nat.facts.isPending, false)
  clock.advance(15_000)
  t.equal(nat.facts.isPending, true)
  await until('the tests are over', () => !nat.facts.isPending)
  for (let i = 0; i < 7; i++) clock.advance(15_000)
  t.equal(nat.facts.isPending, false)
  clock.advance(15_000)
  t.equal(nat.facts.isPending, true)
})
