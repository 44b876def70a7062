import { randomBytes } from 'node:crypto'
import t from 'tap'
import { findPcp } from '../../../../services/nat/mapping/pcp.ts'
import { makePlace, startUdp } from './fake-router.ts'

const signal = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms)
const wish = { transport: 'tcp', port: 6881, externalPort: 6881, lifetimeSeconds: 3_600 } as const

/** A PCP server's answer to a request. */
function pcpReply (request: Buffer, { result = 0, externalPort = 7_001, lifetime = 1_800, address = [45, 67, 1, 2] } = {}): Buffer {
  const reply = Buffer.from(request)
  reply[1] = 0x80 | (request[1] ?? 0)
  reply[3] = result
  reply.writeUInt32BE(lifetime, 4)
  if (reply.length < 60) return reply
  reply.writeUInt16BE(externalPort, 42)
  Buffer.from([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, ...address]).copy(reply, 44)
  return reply
}

/** A NAT-PMP server's answer: to PCP, that it does not know it. */
function pmpReply (request: Buffer, result = 0): Buffer {
  if (request[0] !== 0) return Buffer.from([0, 0x80 | (request[1] ?? 0), 0, 1, 0, 0, 0, 9])
  const own = request[1] === 0
  const reply = Buffer.alloc(own ? 12 : 16)
  reply[1] = 0x80 | (request[1] ?? 0)
  reply.writeUInt16BE(result, 2)
  if (own) reply.set([45, 67, 1, 2], 8)
  else {
    request.copy(reply, 8, 4, 6)
    reply.writeUInt16BE(7_002, 10)
    request.copy(reply, 12, 8, 12)
  }
  return reply
}

t.test('PCP: a port is mapped, renewed with the same nonce, and taken back', async (t) => {
  const place = makePlace()
  const requests = await startUdp(t, place, 5351, (request) => pcpReply(request))
  const router = await findPcp(place, signal())
  t.equal(router.protocol, 'PCP')
  t.same(await router.map(wish, signal()), { externalPort: 7_001, externalAddress: '45.67.1.2', lifetimeSeconds: 1_800 })
  await router.map({ ...wish, externalPort: 7_001 }, signal())
  await router.unmap({ ...wish, externalPort: 7_001 }, signal())
  await router.map({ ...wish, transport: 'udp' }, signal())
  const [, first, again, removed, udp] = requests
  if (first === undefined || again === undefined || removed === undefined || udp === undefined) throw new Error('too few requests')
  t.equal(first.toString('hex', 0, 24), '0201000000000e10' + '00000000000000000000ffff7f000001')
  t.equal(first.toString('hex', 36), '06000000' + '1ae1' + '1ae1' + '00000000000000000000ffff00000000')
  t.equal(again.readUInt16BE(42), 7_001, 'the port that we have')
  t.equal(removed.readUInt32BE(4), 0)
  for (const request of [again, removed]) t.same(request.subarray(24, 36), first.subarray(24, 36))
  t.notSame(udp.subarray(24, 36), first.subarray(24, 36))
  t.equal(udp[36], 17)
})

t.test('NAT-PMP: a router that knows no PCP', async (t) => {
  const place = makePlace()
  const requests = await startUdp(t, place, 5351, (request) => pmpReply(request))
  const router = await findPcp(place, signal())
  t.equal(router.protocol, 'NAT-PMP')
  t.same(await router.map(wish, signal()), { externalPort: 7_002, externalAddress: '45.67.1.2', lifetimeSeconds: 3_600 })
  await router.unmap({ ...wish, transport: 'udp' }, signal())
  t.same(requests.slice(1).map((request) => request.toString('hex')), ['00020000' + '1ae1' + '1ae1' + '00000e10', '0000', '00010000' + '1ae1' + '0000' + '00000000'])
})

t.test('a refusal is in words', async (t) => {
  const [pcp, pmp] = [makePlace(), makePlace()]
  await startUdp(t, pcp, 5351, (request) => pcpReply(request, { result: request[1] === 1 ? 2 : 0 }))
  await startUdp(t, pmp, 5351, (request) => pmpReply(request, 2))
  await t.rejects((await findPcp(pcp, signal())).map(wish, signal()), { message: 'the router refuses (PCP: not authorised)' })
  await t.rejects((await findPcp(pmp, signal())).map(wish, signal()), { message: 'the router refuses (NAT-PMP: not authorised)' })
  const strange = makePlace()
  await startUdp(t, strange, 5351, (request) => pcpReply(request, { result: request[1] === 1 ? 200 : 0 }))
  await t.rejects((await findPcp(strange, signal())).map(wish, signal()), { message: 'the router refuses (PCP: error 200)' })
})

t.test('answers that make no sense', async (t) => {
  for (const [what, change] of [['port 0', { externalPort: 0 }], ['no lifetime', { lifetime: 0 }]] as const) {
    const place = makePlace()
    await startUdp(t, place, 5351, (request) => pcpReply(request, change))
    await t.rejects((await findPcp(place, signal())).map(wish, signal()), { message: 'the router\'s answer makes no sense' }, what)
  }
  const later = makePlace()
  await startUdp(t, later, 5351, (request) => {
    const [version, opcode] = request
    const other = pcpReply(request)
    if (other.length === 60) other[24] = (other[24] ?? 0) ^ 1
    return [Buffer.alloc(0), Buffer.from([version ?? 0]), randomBytes(3), Buffer.from([2, 0x81]), Buffer.alloc(2_000, opcode), other, pcpReply(request)]
  })
  t.equal((await (await findPcp(later, signal())).map(wish, signal())).externalPort, 7_001, 'are passed over while a good one comes')
  const third = makePlace()
  await startUdp(t, third, 5351, () => Buffer.from([3, 0x80, 0, 0]))
  await t.rejects(findPcp(third, signal()), { message: 'the router speaks version 3 of PCP' })
  const short = makePlace()
  await startUdp(t, short, 5351, (request) => request[0] === 0 ? Buffer.from([0, 0x82, 0, 0, 1]) : pmpReply(request))
  const startedAt = performance.now()
  await t.rejects((await findPcp(short, signal())).map(wish, signal()), { message: 'no answer by PCP or NAT-PMP' })
  t.ok(performance.now() - startedAt < 5_000)
})

t.test('a request is repeated; where nobody listens, that is known at once; and it ends when it is told to', async (t) => {
  const place = makePlace()
  let count = 0
  await startUdp(t, place, 5351, (request) => ++count < 3 ? null : pcpReply(request))
  await findPcp(place, signal())
  t.equal(count, 3)
  const startedAt = performance.now()
  await t.rejects(findPcp(makePlace(), signal()), { message: 'no answer by PCP or NAT-PMP' })
  t.ok(performance.now() - startedAt < 1_000, 'refused by the network')
  const silent = makePlace()
  await startUdp(t, silent, 5351, () => null)
  await t.rejects(findPcp(silent, signal(100)), { name: 'TimeoutError' })
})
