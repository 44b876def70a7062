import t from 'tap'
import { decode, encode } from '../../../services/torrent/bencode.ts'
import { codeOf, seeded } from './oracles.ts'
import type { Bencoded, Encodable } from '../../../services/torrent/bencode.ts'

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')

t.test('decodes what BEP 3 shows', async t => {
  t.same(decode(bytes('4:spam')).value, bytes('spam'))
  t.same(decode(bytes('0:')).value, bytes(''))
  t.equal(decode(bytes('i3e')).value, 3)
  t.equal(decode(bytes('i-3e')).value, -3)
  t.equal(decode(bytes('i0e')).value, 0)
  t.equal(decode(bytes('i9007199254740991e')).value, Number.MAX_SAFE_INTEGER)
  t.equal(decode(bytes('i-9007199254740991e')).value, Number.MIN_SAFE_INTEGER)
  t.same(decode(bytes('l4:spam4:eggse')).value, [bytes('spam'), bytes('eggs')])
  t.same(decode(bytes('d3:cow3:moo4:spaml1:a1:bee')).value, new Map<string, Bencoded>([['cow', bytes('moo')], ['spam', [bytes('a'), bytes('b')]]]))
  t.same(decode(bytes('de')).value, new Map())
  t.same(decode(bytes('le')).value, [])
})

t.test('gives the raw bytes of a value of the outermost dictionary, and of no other', async t => {
  const { rawOf } = decode(bytes('d1:bd4:infoi1ee4:infod1:zi1e1:ai2eee'))
  t.equal(rawOf('info')?.toString(), 'd1:zi1e1:ai2ee')
  t.equal(rawOf('b')?.toString(), 'd4:infoi1ee')
  t.equal(rawOf('z'), null)
  t.equal(decode(bytes('ld4:infoi1eee')).rawOf('info'), null)
})

t.test('a key named __proto__ is a key like any other', async t => {
  const { value } = decode(bytes('d9:__proto__d5:admini1eee'))
  t.ok(value instanceof Map)
  t.ok(value instanceof Map && value.get('__proto__') instanceof Map)
  t.equal(Reflect.get({}, 'admin'), undefined)
})

t.test('keys out of order and a newline at the end are tolerated', async t => {
  t.same(decode(bytes('d1:b1:x1:a1:ye')).value, new Map([['b', bytes('x')], ['a', bytes('y')]]))
  for (const ending of ['\n', '\r\n', '\r\n\r\n']) t.equal(decode(bytes(`i1e${ending}`)).value, 1)
})

t.test('refuses what is malformed and says where', async t => {
  for (const text of [
    '', 'i', 'i1', 'ie', 'i-e', 'i-', 'i-0e', 'i00e', 'i01e', 'i-01e', 'i--1e', 'i+1e', 'i1.5e', 'i1 e', 'i e', 'i0x1e',
    'i9007199254740992e', 'i-9007199254740992e', `i${'9'.repeat(400)}e`,
    '1', '1:', '4:spa', '01:a', '00:', '-1:a', ':', ' 1:a', '1 :a', '99999999999999999999:a', '9007199254740991:a', '4294967297:a',
    'l', 'li1e', 'd', 'd1:a', 'd1:a1:b', 'di1e1:ae', 'dle1:ae', 'd1:ae', 'd1:a1:x1:a1:ye', 'de1:a',
    'e', 'x', 'n', '\0', 'i1ei2e', 'i1e ', 'i1e\n\n\n\n\n', 'i1e\0', '<!DOCTYPE html>', '\x1f\x8b'
  ]) t.equal(codeOf(() => decode(bytes(text))), 'METADATA_INVALID', JSON.stringify(text.slice(0, 40)))
  t.throws(() => decode(bytes('d1:ai01ee')), { message: 'not valid bencode at byte 6: a number with a leading zero' })
  t.throws(() => decode(bytes('d1:a6:spame')), { message: 'not valid bencode at byte 6: a string of 6 bytes where 5 are left' })
})

t.test('each limit holds at its edge', async t => {
  const nested = (depth: number): Buffer => bytes('l'.repeat(depth) + 'e'.repeat(depth))
  t.equal(codeOf(() => decode(nested(65))), 'nothing was thrown')
  t.equal(codeOf(() => decode(nested(66))), 'METADATA_INVALID')
  t.equal(codeOf(() => decode(bytes('llleee'), { depth: 2 })), 'nothing was thrown')
  t.equal(codeOf(() => decode(bytes('llleee'), { depth: 1 })), 'METADATA_INVALID')
  t.equal(codeOf(() => decode(bytes('li1ei1ee'), { weight: 3 })), 'nothing was thrown')
  t.equal(codeOf(() => decode(bytes('li1ei1ee'), { weight: 2 })), 'METADATA_INVALID')
  t.equal(codeOf(() => decode(bytes('de'), { weight: 4 })), 'nothing was thrown')
  t.equal(codeOf(() => decode(bytes('de'), { weight: 3 })), 'METADATA_INVALID')
  t.equal(codeOf(() => decode(bytes('d1:ai1e1:bi1ee'), { keys: 2 })), 'nothing was thrown')
  t.equal(codeOf(() => decode(bytes('d1:ai1e1:bi1ee'), { keys: 1 })), 'METADATA_INVALID')
  t.equal(codeOf(() => decode(bytes(`d4096:${'k'.repeat(4096)}i1ee`))), 'nothing was thrown')
  t.equal(codeOf(() => decode(bytes(`d4097:${'k'.repeat(4097)}i1ee`))), 'METADATA_INVALID')
})

t.test('what nobody wants is checked for its form, and not kept', async t => {
  const wanted = [new Set(['info', 'list']), undefined, new Set(['kept'])]
  const { value, rawOf } = decode(bytes('d4:infod1:xi1ee4:listld4:kept1:y4:leftd1:ai1eeee4:leftl1:zi5ed1:bleeee'), {}, wanted)
  t.same(value, new Map<string, Bencoded>([
    ['info', new Map([['x', 1]])],
    ['list', [new Map<string, Bencoded>([['kept', bytes('y')], ['left', bytes('')]])]],
    ['left', bytes('')]
  ]))
  t.equal(rawOf('info')?.toString(), 'd1:xi1ee')
  for (const text of ['d4:leftl1:ae', 'd4:leftd1:aee', 'd4:leftdi1ei1eee', 'd4:lefti01ee', 'd4:left5:xe', 'd4:leftxe', 'd4:lefti1e4:lefti1ee', `d4:left${'l'.repeat(100)}${'e'.repeat(101)}`]) {
    t.equal(codeOf(() => decode(bytes(text), {}, wanted)), 'METADATA_INVALID', text.slice(0, 40))
  }
  t.equal(codeOf(() => decode(bytes(`d4:leftl${'i1e'.repeat(100)}ee`), { weight: 10 }, wanted)), 'nothing was thrown', 'it weighs nothing')
})

t.test('10 MB made to be slow are decoded or refused within seconds', async t => {
  const size = 10_000_000
  const keys = Array.from({ length: size / 4104 }, (_, i) => `4096:${'k'.repeat(4090)}${String(i).padStart(6, '0')}0:`)
  for (const [what, text] of Object.entries({
    'ten million lists in each other': 'l'.repeat(size),
    'ten million dictionaries in each other': 'd1:a'.repeat(size / 4),
    'five million empty dictionaries': `l${'de'.repeat(size / 2)}e`,
    'five million empty strings': `l${'0:'.repeat(size / 2)}e`,
    'an integer of ten million digits': `i${'1'.repeat(size)}e`,
    'a length of ten million digits': '1'.repeat(size),
    'ten million zeros': '0'.repeat(size),
    'long keys that differ at their end': `d${keys.join('')}e`
  })) {
    const started = performance.now()
    const outcome = codeOf(() => decode(bytes(text)))
    t.ok(outcome === 'METADATA_INVALID' || outcome === 'nothing was thrown', `${what}: ${outcome}`)
    t.ok(performance.now() - started < 5000, `${what}: in time`)
  }
})

t.test('encodes with sorted keys and decodes to the same', async t => {
  t.equal(encode(new Map<string, Encodable>([['b', 1], ['a', ['x', Buffer.from('y')]], ['', -5]])).toString(), 'd0:i-5e1:al1:x1:ye1:bi1ee')
  t.equal(encode('ש').toString('latin1'), '2:\xd7\xa9')
  t.equal(encode(new Map([['\xff', 1], ['a', 2]])).toString('latin1'), 'd1:ai2e1:\xffi1ee')
  for (const value of [1.5, NaN, Infinity, 2 ** 53]) t.throws(() => encode(value), TypeError)
  t.throws(() => encode(new Map([['ש', 1]])), TypeError)

  const random = seeded(3)
  const below = (n: number): number => Math.floor(random() * n)
  const some = (depth: number): Bencoded => {
    const kind = below(depth === 0 ? 2 : 4)
    if (kind === 0) return below(2 ** 40) - 2 ** 39
    if (kind === 1) return Buffer.from(Array.from({ length: below(20) }, () => below(256)))
    if (kind === 2) return Array.from({ length: below(5) }, () => some(depth - 1))
    return new Map(Array.from({ length: below(5) }, () => [Buffer.from([below(256), below(256)]).toString('latin1'), some(depth - 1)]))
  }
  for (let i = 0; i < 300; i++) {
    const value = some(5)
    const encoded = encode(value)
    t.ok(encode(decode(encoded).value).equals(encoded), `value ${i}`)
  }
})
