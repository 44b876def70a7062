import { randomBytes } from 'node:crypto'
import t from 'tap'
import { decodeHolepunch, encodeHolepunch } from '../../../services/swarm/holepunch-message.ts'
import { at } from './neighbours.ts'

t.test('messages are 12 bytes, 24 for IPv6', async (t) => {
  t.equal(encodeHolepunch({ type: 'rendezvous', endpoint: at('1.2.3.4:6881'), error: 0 }).toString('hex'), '0000010203041ae100000000')
  t.equal(encodeHolepunch({ type: 'error', endpoint: at('1.2.3.4:6881'), error: 3 }).toString('hex'), '0200010203041ae100000003')
  t.equal(encodeHolepunch({ type: 'connect', endpoint: at('[2a00::1]:6881'), error: 0 }).toString('hex'), '01012a0000000000000000000000000000011ae100000000')
})

t.test('what others send is understood, short or long', async (t) => {
  const four = at('1.2.3.4:6881')
  const table: Array<[string, object | null]> = [
    ['0000010203041ae1', { type: 'rendezvous', endpoint: four, error: 0 }],
    ['0100010203041ae1', { type: 'connect', endpoint: four, error: 0 }],
    ['0100010203041ae100000007', { type: 'connect', endpoint: four, error: 0 }],
    ['0200010203041ae100000002', { type: 'error', endpoint: four, error: 2 }],
    ['0200010203041ae1', { type: 'error', endpoint: four, error: 0 }],
    ['0200010203041ae10000', { type: 'error', endpoint: four, error: 0 }],
    ['0200010203041ae1ffffffff00', { type: 'error', endpoint: four, error: 0xffffffff }],
    ['01012a0000000000000000000000000000011ae1', { type: 'connect', endpoint: at('[2a00::1]:6881'), error: 0 }],
    ['', null], ['00', null], ['0000010203041a', null], ['0300010203041ae1', null], ['0002010203041ae1', null],
    ['01012a0000000000000000000000000000011a', null], ['000001020304000000000000', null]
  ]
  for (const [hex, expected] of table) t.same(decodeHolepunch(Buffer.from(hex, 'hex')), expected, hex || 'nothing')
})

t.test('a message comes back as it was, and noise is none or a message', async (t) => {
  for (let i = 0; i < 2_000; i++) {
    const message = decodeHolepunch(randomBytes(i % 40))
    if (message !== null) t.same(decodeHolepunch(encodeHolepunch(message)), message)
    const likely = decodeHolepunch(Buffer.concat([Buffer.from([i % 3, i % 2]), randomBytes(22)]))
    if (likely !== null) t.same(decodeHolepunch(encodeHolepunch(likely)), likely)
  }
})
