import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import type { Test } from 'tap'
import { endpointOf, filteringOf, isCredible, mappingOf, openSocket, sound } from '../../../services/nat/discover.ts'
import type { Answer } from '../../../services/nat/discover.ts'
import { StunClient } from '../../../services/nat/stun.ts'
import { resolveServers } from '../../../services/nat/stun-servers.ts'
import { startFakeStun } from './fake-stun.ts'
import type { FakeStun, FakeStunChoices } from './fake-stun.ts'

const never = new AbortController().signal
const both = ['127.0.0.1', '127.0.0.2'] as const
const limitMs = 600

async function openClient (t: Test): Promise<StunClient> {
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  // Not 127.0.0.1, from where it could send to no other of these addresses.
  socket.bind(0)
  await once(socket, 'listening')
  return new StunClient(socket)
}

function given (...servers: FakeStun[]): Array<Promise<FakeStun['endpoint']>> {
  return servers.map(async ({ endpoint }) => endpoint)
}

const seen = (port: number, address = '45.67.1.2'): Answer['mapped'] => ({ address, port })
const answer = (to: string, mapped: Answer['mapped']): Answer => ({ to: { address: to.split(':')[0] ?? '', port: Number(to.split(':')[1]) }, mapped })

t.test('answers from different places tell what the mapping depends on', async (t) => {
  t.equal(mappingOf([]), null)
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5))]), null, 'one is too few')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.1:3479', seen(5))]), null, 'of one address')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(5))]), 'endpoint-independent')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(6))]), 'address-and-port-dependent')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(6)), answer('1.0.0.2:3479', seen(6))]), 'address-dependent')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(6)), answer('1.0.0.2:3479', seen(7))]), 'address-and-port-dependent')
  t.equal(mappingOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(9, '6.6.6.6')), answer('1.0.0.3:3478', seen(5))]), 'endpoint-independent', 'a liar is outvoted')
})

t.test('where most see us is where we are', async (t) => {
  t.equal(endpointOf([]), null)
  t.same(endpointOf([answer('1.0.0.1:3478', seen(5))]), seen(5))
  t.same(endpointOf([answer('1.0.0.1:3478', seen(9, '6.6.6.6')), answer('1.0.0.2:3478', seen(5)), answer('1.0.0.3:3478', seen(5))]), seen(5))
  t.same(endpointOf([answer('1.0.0.1:3478', seen(5)), answer('1.0.0.2:3478', seen(6))]), { address: '45.67.1.2', port: null }, 'each sees another port')
})

t.test('a server with two addresses is asked at both', async (t) => {
  const server = await startFakeStun(t, { addresses: both })
  const found = await sound(await openClient(t), given(server), { signal: never })
  t.match(found, { asked: 1, answered: 1, failures: [], capable: [{ primary: server.endpoint, other: server.other }] })
  t.same(server.requests.map(({ to }) => to), [server.endpoint, { address: server.other?.address, port: server.endpoint.port }, server.other])
  t.equal(mappingOf(found.answers), 'endpoint-independent')
})

t.test('servers that name themselves, this machine or a service as their other address are asked once', async (t) => {
  const named = async (other: FakeStunChoices['other']): Promise<FakeStun> => await startFakeStun(t, other === undefined ? {} : { other })
  const servers = [await named({ address: '127.0.0.1', port: 3_479 }), await named({ address: '127.0.0.2', port: 22 }), await named({ address: '45.67.1.1', port: 3_479 })]
  for (const server of servers) {
    const found = await sound(await openClient(t), given(server), { signal: never, limitMs })
    t.match(found, { asked: 1, answered: 1, capable: [] })
    t.equal(server.requests.length, 1)
  }
})

t.test('the other address has to be as public as the server, and no service', async (t) => {
  const server = { address: '45.67.1.2', port: 3_478 }
  for (const [address, port, is] of [['45.67.1.3', 3_479, true], ['45.67.1.2', 3_479, false], ['45.67.1.3', 3_478, false], ['45.67.1.3', 53, false], ['192.168.1.1', 3_479, false], ['127.0.0.1', 3_479, false], ['0.0.0.0', 3_479, false]] as const) {
    t.equal(isCredible({ address, port }, server), is, `${address}:${port}`)
  }
  t.ok(isCredible({ address: '192.168.1.3', port: 3_479 }, { address: '192.168.1.2', port: 3_478 }), 'of one in our own network')
})

t.test('a server whose other address is silent cannot tell the filtering', async (t) => {
  const dead = await startFakeStun(t, { loses: Infinity, addresses: ['127.0.0.3'] })
  const server = await startFakeStun(t, { other: dead.endpoint })
  t.match(await sound(await openClient(t), given(server), { signal: never, limitMs }), { answered: 1, capable: [] })
})

t.test('two plain servers tell a symmetric NAT from others', async (t) => {
  for (const [mapped, behaviour] of [
    [undefined, 'endpoint-independent'],
    [(_source: unknown, to: { port: number }) => ({ address: '45.67.1.2', port: to.port }), 'address-and-port-dependent']
  ] as const) {
    const servers = await Promise.all(['127.0.0.1', '127.0.0.2'].map(async (address) => await startFakeStun(t, { addresses: [address], ...mapped === undefined ? {} : { mapped } })))
    const { answers } = await sound(await openClient(t), given(...servers), { signal: never })
    t.equal(mappingOf(answers), behaviour)
  }
})

t.test('two names of one server count once, and who has no address is a failure with its reason', async (t) => {
  const server = await startFakeStun(t)
  const name = `${server.endpoint.address}:${server.endpoint.port}`
  const found = await sound(await openClient(t), resolveServers([name, `stun:${name}`, 'stun.invalid:3478'], 3_000, never), { signal: never })
  t.match(found, { asked: 1, answered: 1, failures: [/^stun\.invalid:3478: /] })
})

t.test('in haste, it is over as soon as two agree', async (t) => {
  const silent = await startFakeStun(t, { loses: Infinity, addresses: ['127.0.0.3'] })
  const servers = [silent, await startFakeStun(t), await startFakeStun(t, { addresses: ['127.0.0.2'] })]
  const startedAt = performance.now()
  t.match(await sound(await openClient(t), given(...servers), { signal: never, isHasty: true }), { answered: 2 })
  t.ok(performance.now() - startedAt < 1_500)
})

t.test('what comes in tells the filtering', async (t) => {
  const rows: Array<[FakeStunChoices, string | null]> = [
    [{}, 'endpoint-independent'],
    [{ passes: ({ address }) => !address }, 'address-dependent'],
    [{ passes: () => false }, 'address-and-port-dependent'],
    [{ isIgnorant: true }, null],
    [{ loses: Infinity }, null]
  ]
  await Promise.all(rows.map(async ([choices, behaviour]) => {
    const server = await startFakeStun(t, { addresses: both, ...choices })
    const { endpoint: primary, other } = server
    t.equal(await filteringOf(await openClient(t), { primary, other: other ?? primary }, never), behaviour)
  }))
})

t.test('a port that is taken is no socket, and no error', async (t) => {
  const socket = await openSocket(0)
  t.teardown(() => { socket?.close() })
  t.equal(await openSocket(socket?.address().port ?? 0), null)
})
