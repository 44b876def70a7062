import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { crc32 } from 'node:zlib'
import t from 'tap'
import type { Test } from 'tap'
import { encodeRequest, parseReply, StunClient } from '../../../services/nat/stun.ts'
import { amount, seedOf } from '../../soak.ts'
import { seeded } from '../torrent/oracles.ts'
import { addressValue, attribute, message, startFakeStun } from './fake-stun.ts'
import type { FakeStunChoices } from './fake-stun.ts'

const never = new AbortController().signal
const id = Buffer.from('b7e7a701bc34d686fa87dfae', 'hex')
/** RFC 5769 section 2.2. */
const sample = Buffer.from(('0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220002000080001a147e112a643' +
  '000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96'), 'hex')

async function openClient (t: Test): Promise<StunClient> {
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return new StunClient(socket)
}

t.test('the answer of the RFC\'s own example is understood', async (t) => {
  t.strictSame(parseReply(sample), { id: id.toString('hex'), error: null, mapped: { address: '192.0.2.1', port: 32_853 }, origin: null, other: null })
})

t.test('a request is a header, and CHANGE-REQUEST where something is to change', async (t) => {
  t.equal(encodeRequest(id).toString('hex'), `000100002112a442${id.toString('hex')}`)
  t.equal(encodeRequest(id, { address: true, port: true }).toString('hex'), `000100082112a442${id.toString('hex')}0003000400000006`)
  t.equal(encodeRequest(id, { address: false, port: true }).subarray(20).toString('hex'), '0003000400000002')
})

t.test('what servers old and new say is read', async (t) => {
  const here = { address: '45.67.1.2', port: 6_881 }
  const there = { address: '45.67.1.3', port: 3_479 }
  const error = Buffer.concat([Buffer.from([0, 0, 4, 20]), Buffer.from('Unknown\nAttribute')])
  t.match(parseReply(message(0x0101, id, [attribute(1, addressValue(here))])), { mapped: here }, 'the plain address of RFC 3489')
  t.match(parseReply(message(0x0101, id, [attribute(1, addressValue(there)), attribute(0x20, addressValue(here, true))])), { mapped: here }, 'both: the one that no router rewrites')
  t.match(parseReply(message(0x0101, id, [attribute(4, addressValue(there)), attribute(5, addressValue(there)), attribute(0x20, addressValue(here, true))])), { mapped: here }, 'with leftovers of RFC 3489')
  t.match(parseReply(message(0x0101, id, [attribute(0x20, addressValue(here, true)), attribute(0x802b, addressValue(here)), attribute(0x802c, addressValue(there))])), { mapped: here, origin: here, other: there })
  t.match(parseReply(message(0x0101, id, [attribute(0x8022, Buffer.from('odd')), attribute(0x20, addressValue(here, true))])), { mapped: here }, 'padding is skipped')
  t.match(parseReply(message(0x0111, id, [attribute(9, error)])), { error: { code: 420, reason: 'UnknownAttribute' }, mapped: null })
  t.match(parseReply(message(0x0101, id, [attribute(0x20, Buffer.alloc(20, 2))])), { mapped: null }, 'IPv6 is not ours')
  t.match(parseReply(message(0x0101, id, [])), { mapped: null })
})

t.test('what is no answer is nothing', async (t) => {
  const good = message(0x0101, id, [attribute(0x20, addressValue({ address: '1.2.3.4', port: 5 }, true))])
  const withByte = (at: number, value: number): Buffer => {
    const bytes = Buffer.from(good)
    bytes[at] = value
    return bytes
  }
  t.ok(parseReply(good))
  t.equal(parseReply(Buffer.alloc(0)), null)
  t.equal(parseReply(good.subarray(0, 19)), null, 'half a header')
  t.equal(parseReply(good.subarray(0, good.length - 1)), null, 'cut')
  t.equal(parseReply(Buffer.concat([good, Buffer.alloc(4)])), null, 'more than it says')
  t.equal(parseReply(encodeRequest(id)), null, 'a request')
  t.equal(parseReply(withByte(4, 0)), null, 'without the magic cookie')
  t.equal(parseReply(withByte(23, 200)), null, 'an attribute that is longer than the message')
  t.equal(parseReply(message(0x0101, id, [attribute(0x7777, Buffer.alloc(4))])), null, 'an attribute that one would have to understand')
  t.equal(parseReply(message(0x0111, id, [])), null, 'an error that names none')
  const crc = Buffer.alloc(4)
  crc.writeUInt32BE((crc32(Buffer.from('other')) ^ 0x5354554e) >>> 0)
  t.equal(parseReply(message(0x0101, id, [attribute(0x8028, crc)])), null, 'a wrong fingerprint')
})

t.test('whatever comes in, nothing breaks', async (t) => {
  const random = seeded(seedOf(t))
  const whole = [sample, message(0x0101, id, [attribute(0x802c, addressValue({ address: '1.2.3.4', port: 5 })), attribute(0x20, addressValue({ address: '1.2.3.4', port: 5 }, true))]), message(0x0111, id, [attribute(9, Buffer.from([0, 0, 4, 20]))])]
  for (let i = 0; i < amount('STUN_FUZZ', 50_000); i++) {
    const original = whole[Math.floor(random() * whole.length)] ?? sample
    const bytes = Buffer.from(original.subarray(0, random() < 0.3 ? Math.floor(random() * original.length) : original.length))
    for (let changes = Math.floor(random() * 4); changes > 0 && bytes.length > 0; changes--) bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256)
    // Else nearly all would end at its length.
    if (bytes.length >= 20 && random() < 0.7) bytes.writeUInt16BE(bytes.length - 20, 2)
    try {
      const reply = parseReply(bytes)
      if (reply?.mapped != null && !/^\d+\.\d+\.\d+\.\d+$/.test(reply.mapped.address)) t.fail(`${bytes.toString('hex')}: ${reply.mapped.address}`)
    } catch (error) {
      t.fail(`${bytes.toString('hex')}: ${String(error)}`)
    }
  }
  t.pass('all were answers or none')
})

t.test('a lost request is sent again', async (t) => {
  const server = await startFakeStun(t, { loses: 1 })
  const outcome = await (await openClient(t)).ask(server.endpoint, { signal: never })
  t.match(outcome, { kind: 'reply', reply: { mapped: { address: '127.0.0.1', port: server.requests[0]?.source.port ?? 0 } } })
  t.equal(server.requests.length, 2)
})

t.test('a server that is silent is waited for no longer than said', async (t) => {
  const server = await startFakeStun(t, { loses: Infinity })
  const client = await openClient(t)
  const startedAt = performance.now()
  t.same(await client.ask(server.endpoint, { signal: never, limitMs: 700 }), { kind: 'silent' })
  t.ok(performance.now() - startedAt < 1_500)
  t.same(await client.ask(server.endpoint, { signal: AbortSignal.abort() }), { kind: 'silent' })
  const stop = new AbortController()
  const asking = client.ask(server.endpoint, { signal: stop.signal })
  stop.abort()
  t.same(await asking, { kind: 'silent' })
})

t.test('a server that says no, or nothing of use, or ignores what it was asked -> it is not supported', async (t) => {
  const answers: Array<[FakeStunChoices, RegExp]> = [
    [{ reply: (request) => message(0x0111, request.subarray(8, 20), [attribute(9, Buffer.concat([Buffer.from([0, 0, 4, 20]), Buffer.from('Unknown')]))]) }, /420 Unknown/],
    [{ reply: (request) => message(0x0101, request.subarray(8, 20), []) }, /no address/],
    [{ isIgnorant: true }, /from the address that was asked/]
  ]
  for (const [choices, reason] of answers) {
    const server = await startFakeStun(t, choices)
    const isAsked = String(reason).includes('asked')
    const outcome = await (await openClient(t)).ask(server.endpoint, { signal: never, ...isAsked ? { change: { address: false, port: true }, from: { ...server.endpoint, port: 1 } } : {} })
    t.match(outcome, { kind: 'unsupported', reason })
  }
})

t.test('an answer to another question, or from a stranger, is no answer', async (t) => {
  const wrong = await startFakeStun(t, { reply: () => message(0x0101, Buffer.alloc(12), [attribute(0x20, addressValue({ address: '1.2.3.4', port: 5 }, true))]) })
  t.same(await (await openClient(t)).ask(wrong.endpoint, { signal: never, limitMs: 300 }), { kind: 'silent' })
  const server = await startFakeStun(t, {})
  const stranger = createSocket('udp4')
  t.teardown(() => { stranger.close() })
  const lying = await startFakeStun(t, {
    reply: (request) => {
      const source = lying.requests.at(-1)?.source
      stranger.send(message(0x0101, request.subarray(8, 20), [attribute(0x20, addressValue({ address: '1.2.3.4', port: 5 }, true))]), source?.port ?? 0, source?.address ?? '')
      return null
    }
  })
  t.same(await (await openClient(t)).ask(lying.endpoint, { signal: never, limitMs: 300 }), { kind: 'silent' }, 'it knew the question')
  t.match(await (await openClient(t)).ask(server.endpoint, { signal: never }), { kind: 'reply' })
})

t.test('what the system does not send is known for that', async (t) => {
  const client = await openClient(t)
  t.match(await client.ask({ address: '::1', port: 3_478 }, { signal: never }), { kind: 'unsent', reason: /no IPv4/ })
  t.match(await client.ask({ address: '255.255.255.255', port: 3_478 }, { signal: never, limitMs: 300 }), { kind: 'unsent' }, 'a broadcast is not allowed')
  const socket = createSocket('udp4')
  socket.bind(0)
  await once(socket, 'listening')
  const closed = new StunClient(socket)
  await new Promise<void>((resolve) => { socket.close(() => { resolve() }) })
  t.match(await closed.ask({ address: '127.0.0.1', port: 3_478 }, { signal: never }), { kind: 'unsent' })
})
