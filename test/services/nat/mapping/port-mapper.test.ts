import t from 'tap'
import type { Test } from 'tap'
import { PortMapper } from '../../../../services/nat/mapping/port-mapper.ts'
import type { PortMapperOptions } from '../../../../services/nat/mapping/port-mapper.ts'
import { RouterError } from '../../../../services/nat/mapping/router.ts'
import type { Mapped, Place, Router, Wish } from '../../../../services/nat/mapping/router.ts'
import type { MappingStatus } from '../../../../services/nat/network-report.ts'
import { SimulatedClock } from '../../simulated-clock.ts'

const minute = 60_000

class FakeRouter implements Router {
  readonly protocol: Router['protocol']
  readonly log: string[] = []
  /** What is answered to a wish; it may throw. */
  answer: (wish: Wish) => Mapped | Promise<Mapped> = ({ externalPort, lifetimeSeconds }) => ({ externalPort, lifetimeSeconds, externalAddress: '45.67.1.2' })

  constructor (protocol: Router['protocol'] = 'UPnP') {
    this.protocol = protocol
  }

  async map (wish: Wish): Promise<Mapped> {
    this.log.push(`map ${wish.transport} ${wish.port} ${wish.externalPort}`)
    return await this.answer(wish)
  }

  async unmap ({ transport, externalPort }: Wish): Promise<void> {
    this.log.push(`unmap ${transport} ${externalPort}`)
  }
}

interface Bench {
  readonly clock: SimulatedClock
  readonly mapper: PortMapper
  readonly router: FakeRouter
  readonly changes: MappingStatus[]
  place: Place | null
  /** Lets the time go on until the status is as wished. */
  until (isSo: (status: MappingStatus) => boolean): Promise<MappingStatus>
  pass (ms: number): Promise<void>
}

function start (t: Test, options: Partial<PortMapperOptions> = {}, prepare: (router: FakeRouter) => void = () => {}): Bench {
  const clock = new SimulatedClock()
  const router = new FakeRouter()
  prepare(router)
  const changes: MappingStatus[] = []
  const waiting = new Set<() => void>()
  const mapper = new PortMapper({
    ports: { tcp: 6881, udp: 6881 },
    clock,
    findPlace: async () => bench.place,
    ways: [async () => router],
    onChange (status) {
      changes.push(status)
      for (const look of waiting) look()
    },
    ...options
  })
  const bench: Bench = {
    clock,
    mapper,
    router,
    changes,
    place: { gateway: '10.0.0.1', local: '10.0.0.2' },
    async until (isSo) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const look = (): void => { if (isSo(mapper.status)) resolve() }
      waiting.add(look)
      look()
      await clock.run(promise)
      waiting.delete(look)
      return mapper.status
    },
    async pass (ms) { await clock.run(clock.pause(ms)) }
  }
  mapper.start()
  t.teardown(async () => { await mapper.stop(AbortSignal.timeout(1_000)) })
  return bench
}

const isMapped = ({ state }: MappingStatus): boolean => state === 'mapped'
const hasFailed = ({ state }: MappingStatus): boolean => state === 'failed'

t.test('both sides of the port are mapped, renewed at half their lease, and taken back at the end', async (t) => {
  const { mapper, router, until, pass, changes } = start(t)
  t.equal(mapper.status.state, 'asking')
  t.match(await until(isMapped), { protocol: 'UPnP', externalAddress: '45.67.1.2', externalTcpPort: 6881, externalUdpPort: 6881, expiresAt: /Z$/, reason: '' })
  t.same(router.log, ['map tcp 6881 6881', 'map udp 6881 6881'])
  await pass(29 * minute)
  t.equal(router.log.length, 2)
  await pass(2 * minute)
  t.equal(router.log.length, 4)
  t.ok(changes.length >= 3, 'with a new end')
  await mapper.stop(AbortSignal.timeout(1_000))
  t.same(router.log.slice(4).sort(), ['unmap tcp 6881', 'unmap udp 6881'])
})

t.test('a lease that is shorter than wished is kept all the same', async (t) => {
  const { router, until, pass } = start(t, {}, (router) => { router.answer = ({ externalPort }) => ({ externalPort, lifetimeSeconds: 120, externalAddress: null }) })
  t.match(await until(isMapped), { externalAddress: null })
  await pass(61_000)
  t.equal(router.log.length, 4)
})

t.test('a lease for ever is looked at, too, and taken back', async (t) => {
  const { mapper, router, until, pass } = start(t, {}, (router) => { router.answer = ({ externalPort }) => ({ externalPort, lifetimeSeconds: 0, externalAddress: '45.67.1.2' }) })
  t.match(await until(isMapped), { expiresAt: null })
  await pass(16 * minute)
  t.equal(router.log.length, 4)
  await mapper.stop(AbortSignal.timeout(1_000))
  t.equal(router.log.length, 6)
})

t.test('the router gives another port -> the other side gets the same, and it is kept', async (t) => {
  const { router, until, pass } = start(t, {}, (router) => {
    router.answer = ({ transport, externalPort, lifetimeSeconds }) => ({ externalPort: transport === 'udp' && externalPort === 6881 ? 7_000 : externalPort, lifetimeSeconds, externalAddress: null })
  })
  t.match(await until(isMapped), { externalTcpPort: 7_000, externalUdpPort: 7_000 })
  t.same(router.log, ['map tcp 6881 6881', 'map udp 6881 6881', 'unmap tcp 6881', 'map tcp 6881 7000'])
  await pass(31 * minute)
  t.same(router.log.slice(4), ['map tcp 6881 7000', 'map udp 6881 7000'])
})

t.test('only what is wished is mapped', async (t) => {
  const { mapper, router, until } = start(t, { ports: { tcp: null, udp: 6881 } })
  t.match(await until(isMapped), { externalTcpPort: null, externalUdpPort: 6881 })
  t.same(router.log, ['map udp 6881 6881'])
  await mapper.stop(AbortSignal.timeout(1_000))
  t.same(router.log.slice(1), ['unmap udp 6881'])
})

t.test('nobody answers -> why, and it is tried again, ever more rarely', async (t) => {
  let searches = 0
  const silent = async (): Promise<Router> => {
    searches++
    throw new RouterError('no answer by UPnP')
  }
  const { until, pass } = start(t, { ways: [async () => { throw new RouterError('no answer by PCP or NAT-PMP') }, silent] })
  t.match(await until(hasFailed), { reason: 'no answer by PCP or NAT-PMP; no answer by UPnP', protocol: null })
  await pass(61_000)
  t.equal(searches, 2)
  await pass(60 * minute)
  t.ok(searches >= 6 && searches <= 8, `${searches} in an hour`)
})

t.test('a router that never answers is given up after 4 s', async (t) => {
  const { clock, until } = start(t, { ways: [async () => await new Promise<Router>(() => {})] })
  t.match(await until(hasFailed), { reason: 'the router does not answer' })
  t.equal(clock.now(), 4_000)
})

t.test('one way is refused -> the next is taken', async (t) => {
  const refusing = new FakeRouter('PCP')
  refusing.answer = () => { throw new RouterError('the router refuses (PCP: not authorised)') }
  const good = new FakeRouter()
  const { until } = start(t, { ways: [async () => refusing, async () => good] })
  t.match(await until(isMapped), { protocol: 'UPnP' })
  good.answer = () => { throw new Error('a bug') }
  const both = start(t, { ways: [async () => refusing, async () => good] })
  t.match(await both.until(hasFailed), { reason: 'the router refuses (PCP: not authorised); it did not work: a bug' })
})

t.test('no default route -> there is no router', async (t) => {
  const bench = start(t)
  bench.place = null
  t.match(await bench.until(hasFailed), { reason: 'there is no router: this machine has no default route' })
  bench.place = { gateway: '10.0.0.1', local: '10.0.0.2' }
  await bench.until(isMapped)
  t.ok(bench.clock.now() <= 30_000, `as soon as there is one: ${bench.clock.now()}`)
})

t.test('a renewal that fails is tried again while the lease lasts; then the router counts as gone', async (t) => {
  const { router, until, pass, mapper } = start(t)
  await until(isMapped)
  const { answer } = router
  router.answer = () => { throw new RouterError('the router does not answer') }
  await pass(40 * minute)
  t.equal(mapper.status.state, 'mapped')
  const tries = router.log.length
  router.answer = answer
  await pass(minute)
  t.ok(router.log.length >= tries + 2, 'it is back')
  router.answer = () => { throw new RouterError('the router does not answer') }
  t.match(await until(hasFailed), { reason: 'the router does not answer', externalTcpPort: null })
  router.answer = answer
  await until(isMapped)
})

t.test('another gateway, or another address of ours -> mapped anew', async (t) => {
  const bench = start(t)
  await bench.until(isMapped)
  bench.place = { gateway: '192.168.1.1', local: '192.168.1.7' }
  await bench.until(({ state }) => state === 'asking')
  await bench.until(isMapped)
  t.ok(bench.clock.now() <= 16_000, `after ${bench.clock.now()} ms`)
  t.same(bench.router.log.slice(2, 4).sort(), ['unmap tcp 6881', 'unmap udp 6881'], 'the old one is told, if it is still there')
  t.same(bench.router.log.slice(4), ['map tcp 6881 6881', 'map udp 6881 6881'])
})

t.test('the end in the middle of a question: what may have been forwarded is taken back', async (t) => {
  const { mapper, router } = start(t, {}, (router) => { router.answer = async () => await new Promise<Mapped>(() => {}) })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.same(router.log, ['map tcp 6881 6881'])
  await mapper.stop(AbortSignal.timeout(1_000))
  t.same(router.log, ['map tcp 6881 6881', 'unmap tcp 6881'])
})

t.test('a router that does not let go delays the end no longer than it may', async (t) => {
  const { mapper, router, until } = start(t)
  await until(isMapped)
  router.unmap = async () => { await new Promise(() => {}) }
  const limit = new AbortController()
  setTimeout(() => { limit.abort() }, 100)
  await mapper.stop(limit.signal)
  t.ok(limit.signal.aborted)
})
