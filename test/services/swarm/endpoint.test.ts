import t from 'tap'
import { compactOf, endpointFrom, mayTell, parseEndpoint, textOf } from '../../../services/swarm/endpoint.ts'
import { at } from './neighbours.ts'

t.test('an endpoint has one form, however it is written', async (t) => {
  const table: Array<[string, string | null]> = [
    ['1.2.3.4:6881', '1.2.3.4:6881'],
    ['[2001:DB8:0:0::1]:6881', '[2001:db8::1]:6881'],
    ['2001:db8::1:6881', '[2001:db8::1]:6881'],
    ['::ffff:1.2.3.4:6881', '1.2.3.4:6881'],
    ['[::ffff:102:304]:1', '1.2.3.4:1'],
    ['[::1]:65535', '[::1]:65535'],
    ['1.2.3.4:0', null], ['1.2.3.4:65536', null], ['1.2.3.4', null], ['1.2.3.256:1', null], ['host:1', null], ['[1.2.3.4]:1', '1.2.3.4:1'],
    ['[fe80::1%eth0]:1', null], ['', null], ['1.2.3.4:1 ', null], ['1.2.3.4:1x', null], ['[]:1', null]
  ]
  for (const [text, expected] of table) {
    const endpoint = parseEndpoint(text)
    t.equal(endpoint === null ? null : textOf(endpoint), expected, text)
    if (endpoint !== null) t.same(endpointFrom(compactOf(endpoint)), endpoint, 'and comes back from its compact form')
  }
  t.equal(compactOf(at('1.2.3.4:258')).toString('hex'), '010203040102')
  t.equal(compactOf(at('[2001:db8::1]:258')).toString('hex'), '20010db80000000000000000000000010102')
  for (const hex of ['', '0102030401', '01020304010203', '010203040000']) t.equal(endpointFrom(Buffer.from(hex, 'hex')), null, hex)
})

t.test('nobody is told of addresses in networks that he is not in', async (t) => {
  const [open, home, here, nearby] = [at('1.2.3.4:6881'), at('192.168.1.2:6881'), at('127.0.0.1:6881'), at('169.254.1.1:6881')]
  t.same([open, home, here, nearby].map((who) => mayTell(who, at('5.6.7.8:1'))), [true, false, false, false], 'from the internet')
  t.same([open, home, here, nearby].map((who) => mayTell(who, at('10.0.0.1:1'))), [true, true, false, false], 'from a private network')
  t.same([open, home, here, nearby].map((who) => mayTell(who, at('127.0.0.1:1'))), [true, true, true, false], 'from this machine')
  t.notOk(mayTell(at('[fd00::1]:1'), at('[2a00::1]:1')))
  t.ok(mayTell(at('[2a00::1]:1'), at('1.2.3.4:1')))
})
