import t from 'tap'
import { Bucket } from '../../../services/swarm/bucket.ts'
import { textOf } from '../../../services/swarm/endpoint.ts'
import { decodeHolepunch, encodeHolepunch } from '../../../services/swarm/holepunch-message.ts'
import type { HolepunchMessage } from '../../../services/swarm/holepunch-message.ts'
import { HolePuncher, punchLimits } from '../../../services/swarm/holepunch.ts'
import type { HolePunchOptions } from '../../../services/swarm/holepunch.ts'
import { isAt, peerFlags } from '../../../services/swarm/neighbour.ts'
import { amount, seedOf } from '../../soak.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import { at, neighbour } from './neighbours.ts'
import type { PaperNeighbour } from './neighbours.ts'

const { hasHolepunch, isReachable } = peerFlags

function startPuncher (options: Partial<HolePunchOptions> = {}) {
  const clock = new SimulatedClock()
  const punched: string[] = []
  const counts: string[] = []
  const puncher = new HolePuncher({
    clock,
    limits: punchLimits(clock),
    allowPrivateNetworks: false,
    isPrivate: () => false,
    mayDial: ({ address }) => !address.startsWith('10.') && !address.startsWith('127.'),
    isOurs: ({ address }) => address === '8.8.8.8',
    isConnected: () => false,
    punch: (endpoint) => { punched.push(textOf(endpoint)); return true },
    onPunch: (role, outcome) => { counts.push(`${role} ${outcome}`) },
    onRelayed: () => { counts.push('relayed') },
    ...options
  })
  const join = (...given: Parameters<typeof neighbour>): PaperNeighbour => {
    const joined = neighbour(...given)
    puncher.add(joined)
    return joined
  }
  const say = (from: PaperNeighbour, type: HolepunchMessage['type'], address: string, error = 0): void => { puncher.receive(from, encodeHolepunch({ type, endpoint: at(address), error })) }
  return { clock, puncher, punched, counts, join, say, wait: async (ms: number) => { await clock.run(clock.pause(ms)) } }
}

/** What it was sent and not asked for before, in words. */
function heard (neighbour: PaperNeighbour): string[] {
  return neighbour.sent.splice(0).map(({ message }) => {
    const decoded = decodeHolepunch(message)
    return decoded === null ? 'nonsense' : `${decoded.type} ${textOf(decoded.endpoint)}${decoded.type === 'error' ? ` ${decoded.error}` : ''}`
  })
}

t.test('initiator: a peer that does not answer a dial within a second is asked of the relay that told us, then punched for', async (t) => {
  const { puncher, punched, counts, join, say, wait } = startPuncher()
  const relay = join('1.1.1.1:1')
  puncher.introduce(at('2.2.2.2:2'), hasHolepunch, relay)
  await wait(900)
  t.same(heard(relay), [], 'the dial has a head start')
  await wait(200)
  t.same(heard(relay), ['rendezvous 2.2.2.2:2'])
  t.equal(puncher.pendingCount, 1, 'worth waiting for')
  say(relay, 'connect', '2.2.2.2:2')
  t.same(punched, ['2.2.2.2:2'])
  t.equal(puncher.pendingCount, 0, 'from here on it is a dial')
  const peer = join('2.2.2.2:2')
  t.ok(peer.isPunched)
  t.same(counts, ['initiator tried', 'initiator won'])
  await wait(120_000)
  t.same(heard(relay), [], 'and no further round')
})

t.test('initiator: one that others could dial has until our dial has failed', async (t) => {
  const { puncher, join, wait } = startPuncher()
  const relay = join('1.1.1.1:1')
  puncher.introduce(at('2.2.2.2:2'), hasHolepunch | isReachable, relay)
  await wait(5_500)
  t.same(heard(relay), [])
  await wait(1_000)
  t.same(heard(relay), ['rendezvous 2.2.2.2:2'])
})

t.test('initiator: a relay that errs, is silent or goes -> the next one; then again after a while, seven times in all', async (t) => {
  const { puncher, punched, counts, join, say, wait } = startPuncher()
  const [errs, silent, goes, last] = [join('1.1.1.1:1'), join('1.1.1.2:1'), join('1.1.1.3:1'), join('1.1.1.4:1')]
  for (const relay of [errs, silent, goes, last]) puncher.introduce(at('2.2.2.2:2'), hasHolepunch, relay)
  await wait(1_100)
  t.same(heard(errs), ['rendezvous 2.2.2.2:2'])
  say(silent, 'error', '2.2.2.2:2', 2)
  say(errs, 'error', '3.3.3.3:3', 2)
  t.same(heard(silent), [], 'an error of another, or about another, is none')
  say(errs, 'error', '2.2.2.2:2', 2)
  t.same(heard(silent), ['rendezvous 2.2.2.2:2'], 'at once')
  await wait(3_100)
  t.same(heard(goes), ['rendezvous 2.2.2.2:2'], 'after three seconds')
  puncher.remove(goes)
  t.same(heard(last), ['rendezvous 2.2.2.2:2'], 'at once')
  say(last, 'error', '2.2.2.2:2', 1)
  t.equal(puncher.pendingCount, 0)
  await wait(4_100)
  t.same(heard(errs), ['rendezvous 2.2.2.2:2'])
  await wait(600_000)
  t.equal(counts.length, 7, counts.join())
  t.same(punched, [])
  puncher.introduce(at('2.2.2.2:2'), hasHolepunch, last)
  await wait(60_000)
  t.equal(counts.length, 7, 'what was given up is not begun again by the next message')
})

t.test('initiator: asked for is only who can be punched for, and a few at a time', async (t) => {
  let isPrivate = false
  const { puncher, join, wait } = startPuncher({ isConnected: ({ address }) => address === '3.3.3.3', isPrivate: () => isPrivate })
  const relay = join('1.1.1.1:1')
  const mute = join('1.1.1.2:1', { extensions: ['ut_pex'] })
  puncher.introduce(at('2.2.2.1:2'), 0, relay)
  for (const address of ['3.3.3.3:3', '10.0.0.1:7000', '8.8.8.8:1', '[2a00::1]:1']) puncher.introduce(at(address), hasHolepunch, relay)
  puncher.introduce(at('2.2.2.2:2'), hasHolepunch, mute)
  puncher.introduce(at('2.2.2.3:2'), hasHolepunch, neighbour('9.9.9.9:9'))
  await wait(20_000)
  t.same([...heard(relay), ...heard(mute)], [], 'no flag, connected, private, ourselves, IPv6, a relay without the extension, a stranger')
  for (let i = 0; i < 2_000; i++) puncher.introduce(at(`4.4.4.4:${i + 1}`), hasHolepunch, relay)
  await wait(1_100)
  t.equal(heard(relay).length, 8)
  await wait(4_000)
  t.equal(heard(relay).length, 8)
  isPrivate = true
  await wait(20_000)
  t.same(heard(relay), [], 'known to be private now')
})

t.test('initiator: who connects by himself is not asked for', async (t) => {
  const { puncher, join, counts, wait } = startPuncher()
  const relay = join('1.1.1.1:1')
  puncher.introduce(at('2.2.2.2:2'), hasHolepunch, relay)
  const direct = join('2.2.2.2:2', { isUtp: false, isOutgoing: true })
  await wait(60_000)
  t.same(heard(relay), [])
  t.same(counts, [])
  t.notOk(direct.isPunched)
})

t.test('target: dials whom a peer asks it to, by uTP; a symmetric NAT may have given another port', async (t) => {
  const { punched, counts, join, say, wait } = startPuncher()
  const relay = join('1.1.1.1:1')
  say(relay, 'connect', '2.2.2.2:2')
  say(relay, 'connect', '2.2.2.2:2')
  t.same(punched, ['2.2.2.2:2'], 'once')
  t.notOk(join('2.2.2.2:2', { isUtp: false }).isPunched, 'TCP does not come through such a hole')
  t.ok(join('2.2.2.2:54321').isPunched)
  t.ok(join('2.2.2.2:2', { isOutgoing: true }).isPunched, 'nor is it reachable because we got through as well')
  t.same(counts, ['target tried', 'target won'])
  await wait(10_000)
  t.notOk(join('2.2.2.2:3').isPunched, 'later ones come by themselves')
  say(relay, 'connect', '3.3.3.3:3')
  await wait(10_000)
  say(relay, 'connect', '3.3.3.3:3')
  t.same(punched, ['2.2.2.2:2', '3.3.3.3:3', '3.3.3.3:3'])
  t.same(heard(relay), [], 'and never a word about it')
})

t.test('target: dials nobody private, connected, by IPv6, or itself, nor for whom has not offered the extension', async (t) => {
  const { puncher, punched, counts, join, say } = startPuncher({ isConnected: ({ address }) => address === '3.3.3.3' })
  const relay = join('1.1.1.1:1')
  for (const address of ['10.0.0.1:7000', '127.0.0.1:6379', '3.3.3.3:3', '8.8.8.8:1', '[2a00::1]:1']) say(relay, 'connect', address)
  say(join('1.1.1.2:1', { extensions: [] }), 'connect', '4.4.4.4:4')
  say(neighbour('1.1.1.3:1'), 'connect', '4.4.4.4:4')
  puncher.receive(relay, Buffer.from('01', 'hex'))
  t.same([punched, counts, heard(relay)], [[], [], []])
  const secret = startPuncher({ isPrivate: () => true })
  secret.say(secret.join('1.1.1.1:1'), 'connect', '4.4.4.4:4')
  secret.say(secret.join('1.1.1.1:1'), 'rendezvous', '4.4.4.4:4')
  t.same(secret.punched, [], 'nor in a private torrent')
})

t.test('target: a flood makes us dial a few, and others are still served', async (t) => {
  const { punched, join, say, wait } = startPuncher()
  const bad = join('6.6.6.6:6')
  const good = join('1.1.1.1:1')
  for (let i = 1; i <= 1_000; i++) say(bad, 'connect', `5.5.${i >> 8}.${i & 255}:80`)
  t.equal(punched.length, 8)
  say(good, 'connect', '2.2.2.2:2')
  t.equal(punched.at(-1), '2.2.2.2:2')
  for (let second = 0; second < 60; second++) {
    await wait(1_000)
    for (let i = 1; i <= 100; i++) say(bad, 'connect', `7.7.${second}.${i}:80`)
  }
  t.ok(punched.length <= 9 + 31, `${punched.length} in a minute`)
})

t.test('target: no room for a dial -> nothing was tried', async (t) => {
  const { counts, join, say } = startPuncher({ punch: () => false })
  say(join('1.1.1.1:1'), 'connect', '2.2.2.2:2')
  t.same(counts, [])
})

t.test('relay: both are told of each other', async (t) => {
  const { counts, join, say } = startPuncher()
  const asker = join('1.1.1.1:50000', { isUtp: false, listening: at('1.1.1.1:6881') })
  const target = join('2.2.2.2:2')
  say(asker, 'rendezvous', '2.2.2.2:2')
  t.same(heard(asker), ['connect 2.2.2.2:2'])
  t.same(heard(target), ['connect 1.1.1.1:6881'], 'by uTP it is reached where it listens, not where its TCP comes from')
  say(target, 'rendezvous', '1.1.1.1:50000')
  t.same(heard(asker), ['connect 2.2.2.2:2'], 'it is known by both')
  t.same(counts, ['relayed', 'relayed'])
})

t.test('relay: says why not', async (t) => {
  const { counts, join, say } = startPuncher()
  const asker = join('1.1.1.1:1')
  const mute = join('3.3.3.3:3', { extensions: ['ut_pex'] })
  const table = [
    ['2.2.2.2:2', 2, 'not connected'], ['3.3.3.3:3', 3, 'no extension'], ['8.8.8.8:1', 4, 'ourselves'], ['1.1.1.1:1', 4, 'itself'],
    ['10.0.0.1:1', 1, 'private'], ['127.0.0.1:1', 1, 'loopback'], ['224.0.0.1:1', 1, 'multicast'], ['[fe80::1]:1', 1, 'link-local']
  ] as const
  for (const [address, error, why] of table) {
    say(asker, 'rendezvous', address)
    t.same(heard(asker), [`error ${address} ${error}`], why)
  }
  t.same(heard(mute), [])
  say(mute, 'rendezvous', '1.1.1.1:1')
  t.same([...heard(asker), ...heard(mute)], [], 'and nothing to whom could not read it')
  const shy = join('4.4.4.4:50000', { isUtp: false, listening: null })
  say(shy, 'rendezvous', '1.1.1.1:1')
  t.same(heard(shy), ['error 1.1.1.1:1 2'], 'there is no address to tell')
  t.same(counts, [])
})

t.test('relay: at home, where it is allowed, private peers are introduced to each other, never to the internet', async (t) => {
  const { join, say } = startPuncher({ allowPrivateNetworks: true })
  const one = join('192.168.0.1:1')
  const two = join('192.168.0.2:2')
  const far = join('1.1.1.1:1')
  say(one, 'rendezvous', '192.168.0.2:2')
  t.same([heard(one), heard(two)], [['connect 192.168.0.2:2'], ['connect 192.168.0.1:1']])
  say(far, 'rendezvous', '192.168.0.2:2')
  t.same(heard(far), ['error 192.168.0.2:2 2'])
  say(one, 'rendezvous', '1.1.1.1:1')
  t.same(heard(one), ['error 1.1.1.1:1 2'])
  t.same(heard(two), [])
})

t.test('relay: a flood is answered and passed on a few times only', async (t) => {
  const { join, say, wait } = startPuncher()
  const target = join('2.2.2.2:2')
  const bad = join('6.6.6.6:6')
  for (let i = 0; i < 1_000; i++) say(bad, 'rendezvous', '2.2.2.2:2')
  t.equal(heard(target).length, 20)
  t.equal(heard(bad).length, 20)
  const many = Array.from({ length: 50 }, (_, i) => join(`6.6.6.${i + 10}:6`))
  await wait(1_000)
  for (const each of many) for (let i = 0; i < 100; i++) say(each, 'rendezvous', '2.2.2.2:2')
  t.equal(heard(target).length, 1, 'nobody is sprayed by many either')
})

t.test('a bucket lets in what it holds, then as often as it fills', async (t) => {
  let now = 0
  const bucket = new Bucket({ now: () => now }, 2, 100)
  t.same([bucket.take(), bucket.take(), bucket.take()], [true, true, false])
  now = 150
  t.same([bucket.take(), bucket.take()], [true, false])
  now = 10_000
  t.same([bucket.take(), bucket.take(), bucket.take()], [true, true, false])
})

/** Always the same numbers for a seed (mulberry32). */
function randomOf (seed: number): (limit: number) => number {
  let state = seed
  return (limit) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296 * limit)
  }
}

t.test('whatever peers say, in whatever order: bounded, silent where it must be, and nothing is left at the end', async (t) => {
  const seed = seedOf(t)
  for (let run = 0; run < amount('HOLEPUNCH_RUNS', 60); run++) {
    const random = randomOf(seed + run)
    const connected = new Set<PaperNeighbour>()
    let relayed = 0
    const { puncher, punched, clock, counts, wait } = startPuncher({
      isConnected: (endpoint) => [...connected].some((each) => isAt(each, endpoint)),
      punch: (endpoint) => { punched.push(textOf(endpoint)); return random(4) > 0 },
      onRelayed: () => { relayed++ }
    })
    const addressOf = (): string => ['1.1.1.', '2.2.2.', '10.0.0.', '8.8.8.', '127.0.0.'][random(5)] + `${random(12)}:${1 + random(3)}`
    const wasAsked = new Map<PaperNeighbour, number>()
    for (let step = 0; step < 300; step++) {
      const [...all] = connected
      const somebody = all[random(all.length)]
      const what = random(12)
      if (what === 0 || somebody === undefined) {
        const joined = neighbour(addressOf(), { isUtp: random(2) === 0, extensions: random(4) === 0 ? [] : ['ut_holepunch'], ...random(5) === 0 ? { listening: null } : {} })
        puncher.add(joined)
        connected.add(joined)
      } else if (what === 1) {
        puncher.remove(somebody)
        connected.delete(somebody)
      } else if (what < 5) {
        puncher.introduce(at(addressOf()), random(32), somebody)
      } else if (what < 10) {
        const type = (['rendezvous', 'connect', 'error'] as const)[random(3)] ?? 'error'
        if (type === 'rendezvous') wasAsked.set(somebody, (wasAsked.get(somebody) ?? 0) + 1)
        const before = new Map(all.map((each) => [each, each.sent.length]))
        puncher.receive(somebody, encodeHolepunch({ type, endpoint: at(addressOf()), error: random(6) }))
        const news = all.filter((each) => each.sent.length > (before.get(each) ?? 0))
        if (type === 'connect' && news.length > 0) t.fail('a connect was answered')
        if (type === 'rendezvous' && news.some((each) => each.sent.length !== (before.get(each) ?? 0) + 1)) t.fail('one message each')
        if (type === 'rendezvous' && news.length > 2) t.fail('two are introduced')
      } else if (what === 10) {
        puncher.receive(somebody, Uint8Array.from({ length: random(30) }, () => random(256)))
      } else {
        await wait(random(5_000))
      }
      if (puncher.pendingCount > 8) t.fail('too many are asked for')
    }
    for (const each of connected) {
      if (!each.supports('ut_holepunch') && each.sent.length > 0) t.fail('somebody without the extension was sent something')
    }
    if (punched.some((address) => /^(?:10\.|127\.|8\.8\.8\.8:)/.test(address))) t.fail('dialled what may not be dialled')
    if (relayed > [...wasAsked.values()].reduce((sum, count) => sum + count, 0)) t.fail('nobody asked for so many')
    for (const role of ['initiator', 'target']) {
      const count = (outcome: string): number => counts.filter((each) => each === `${role} ${outcome}`).length
      if (role === 'target' && count('won') > count('tried')) t.fail(`won more than it tried as ${role}`)
    }
    puncher.close()
    if (clock.size > 0) t.fail(`${clock.size} timers are left`)
  }
  t.pass(`seed ${seed}`)
})
