import { METHODS } from 'node:http'
import t from 'tap'
import { firstBytesNeeded, protocolOf } from '../../../services/http/first-bytes.ts'
import { testBytes } from '../../testnet.ts'

const handshake = Buffer.concat([Buffer.from('\x13BitTorrent protocol'), Buffer.alloc(48, 7)])
const clientHello = Buffer.from('16030100c8010000c4030312345678', 'hex')

const known = [
  ...METHODS.map((method) => ['http', Buffer.from(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`)] as const),
  ['http', Buffer.from('\r\nGET / HTTP/1.1\r\n\r\n')],
  ['http', Buffer.from('get /stream/proxy HTTP/1.1\r\n')],
  ['http', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
  ['http', Buffer.from('This is no request, and HTTP answers that.')],
  ['bittorrent', handshake],
  ['tls', clientHello],
  ['tls', Buffer.from('1603030200010001fc0303', 'hex')],
  ['bittorrent', Buffer.from('16020100c801', 'hex')],
  ['bittorrent', Buffer.from('16030100c802', 'hex')],
  ['bittorrent', Buffer.concat([Buffer.from('GE'), Buffer.alloc(94, 0xe9)])],
  ['bittorrent', Buffer.concat([Buffer.from('GET'), Buffer.alloc(93, 1)])],
  ['bittorrent', Buffer.concat([Buffer.from('nineteen letters in'), Buffer.alloc(77, 0x80)])]
] as const

t.test('a client is known by its first bytes', async (t) => {
  for (const [protocol, bytes] of known) t.equal(protocolOf(bytes), protocol, bytes.subarray(0, 20).toString('latin1'))
  t.equal(protocolOf(Buffer.alloc(0)), null)
})

t.test('however the bytes are cut, it is the same: undecided, then once and for all what it is', async (t) => {
  for (const [protocol, bytes] of known) {
    const answers = Array.from({ length: bytes.length }, (_, i) => protocolOf(bytes.subarray(0, i + 1)))
    const first = answers.findIndex((answer) => answer !== null)
    t.ok(first >= 0 && first < firstBytesNeeded)
    t.ok(answers.slice(first).every((answer) => answer === protocol), `${protocol} after ${first + 1} bytes`)
  }
})

t.test('an encrypted handshake, which is random, is taken for neither HTTP nor TLS', async (t) => {
  const random = testBytes(100_000 * 96, 'MSE')
  let others = 0
  for (let i = 0; i < random.length; i += 96) if (protocolOf(random.subarray(i, i + 96)) !== 'bittorrent') others++
  t.equal(others, 0, 'of 100000')
})
