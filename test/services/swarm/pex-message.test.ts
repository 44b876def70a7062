import { randomBytes } from 'node:crypto'
import t from 'tap'
import { decodePex, encodePex } from '../../../services/swarm/pex-message.ts'
import { at } from './neighbours.ts'

t.test('a message of BEP 11, as the others write it', async (t) => {
  const message = { added: [{ endpoint: at('1.2.3.4:6881'), flags: 0x0c }, { endpoint: at('[2a00::1]:6881'), flags: 0x12 }], dropped: [at('5.6.7.8:1'), at('[2a00::2]:2')] }
  const bytes = encodePex(message)
  t.ok(bytes.toString('latin1').startsWith('d5:added6:\x01\x02\x03\x04\x1a\xe17:added.f1:\x0c6:added618:'))
  t.same(decodePex(bytes), message)
})

t.test('what is wrong in a message is left out', async (t) => {
  const four = Buffer.from('010203041ae1', 'hex').toString('latin1')
  const table: Array<[string, object | null]> = [
    [`d5:added6:${four}e`, { added: [{ endpoint: at('1.2.3.4:6881'), flags: 0 }], dropped: [] }],
    [`d5:added8:${four}xx7:added.f9:${'\x08'.repeat(9)}e`, { added: [{ endpoint: at('1.2.3.4:6881'), flags: 8 }], dropped: [] }],
    [`d5:added12:${'\0'.repeat(6)}${four}7:added.f2:\x01\x08e`, { added: [{ endpoint: at('1.2.3.4:6881'), flags: 8 }], dropped: [] }],
    ['d5:addedi1e7:droppedle8:whatever3:abce', { added: [], dropped: [] }],
    ['de', { added: [], dropped: [] }],
    ['le', null], ['', null], ['d5:added', null], [`d1:x${'l'.repeat(1_000)}${'e'.repeat(1_000)}e`, null]
  ]
  for (const [text, expected] of table) t.same(decodePex(Buffer.from(text, 'latin1')), expected, JSON.stringify(text.slice(0, 60)))
  t.equal(decodePex(Buffer.alloc(100_000)), null)
  t.equal(decodePex(Buffer.from(`d5:added60000:${'\x05'.repeat(60_000)}e`, 'latin1'))?.added.length, 200, 'no more than 200 peers of a message are looked at')
  for (let i = 0; i < 1_000; i++) t.doesNotThrow(() => decodePex(randomBytes(i)))
})
