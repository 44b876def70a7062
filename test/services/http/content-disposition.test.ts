import t from 'tap'

import { contentDisposition } from '../../../services/http/content-disposition.ts'

/** What a client makes of the field: the extended name where there is one (RFC 6266 section 4.3). */
function readName (field: string): string | undefined {
  const extended = /; filename\*=UTF-8''([A-Za-z0-9!#$&+.^_`|~%-]+)$/.exec(field)?.[1]
  if (extended !== undefined) return decodeURIComponent(extended)
  return /; filename="([^"\\]*)"$/.exec(field)?.[1]
}

t.test('names come out as they should', async t => {
  const table: Array<[name: string, field: string]> = [
    ['film.mp4', 'inline; filename="film.mp4"'],
    ["It's a (great) Film!.mp4", 'inline; filename="It\'s a (great) Film!.mp4"'],
    ['a;b=c,d.mp4', 'inline; filename="a;b=c,d.mp4"'],
    ['Amélie.mp4', 'inline; filename="Am_lie.mp4"; filename*=UTF-8\'\'Am%C3%A9lie.mp4'],
    ['€ rates', 'inline; filename="_ rates"; filename*=UTF-8\'\'%E2%82%AC%20rates'],
    ['a"b.mp4', 'inline; filename="a_b.mp4"; filename*=UTF-8\'\'a%22b.mp4'],
    ['100%.mp4', 'inline; filename="100_.mp4"; filename*=UTF-8\'\'100%25.mp4'],
    ['a%20b.mp4', 'inline; filename="a_20b.mp4"; filename*=UTF-8\'\'a%2520b.mp4'],
    ["é'()*!#$&+-.^_`|~", "inline; filename=\"_'()*!#$&+-.^_`|~\"; filename*=UTF-8''%C3%A9%27%28%29%2A!#$&+-.^_`|~"],
    ['😀.mkv', 'inline; filename="_.mkv"; filename*=UTF-8\'\'%F0%9F%98%80.mkv'],
    ['..\\..\\evil/../x.mp4', 'inline; filename=".._.._evil_.._x.mp4"'],
    ['a\r\nSet-Cookie: x=1\0.mp4', 'inline; filename="a__Set-Cookie: x=1_.mp4"'],
    ['a\u007fb\u0085c.mp4', 'inline; filename="a_b_c.mp4"'],
    ['', 'inline']
  ]
  for (const [name, field] of table) t.equal(contentDisposition(name, 'inline'), field, JSON.stringify(name))
  t.equal(contentDisposition('film.mp4', 'attachment'), 'attachment; filename="film.mp4"')
})

t.test('names in any script arrive whole', async t => {
  for (const name of ['映画.mp4', 'Кино.mkv', 'فيلم.avi', 'סרט.mp4', 'हिन्दी.webm', '한국어.mov', 'ไทย.flv', '👩‍👩‍👧.mp4', 'ﬁlm\u0301.mp4', '%41映.mp4']) {
    t.equal(readName(contentDisposition(name, 'inline')), name, name)
  }
})

t.test('half a surrogate pair becomes a replacement character', async t => {
  t.equal(readName(contentDisposition('a\ud800b.mp4', 'inline')), 'a\ufffdb.mp4')
  t.equal(readName(contentDisposition('\udc00', 'inline')), '\ufffd')
})

t.test('a name is cut at 255 bytes, between code points, before its extension', async t => {
  const table: Array<[name: string, read: string]> = [
    ['a'.repeat(251) + '.mp4', 'a'.repeat(251) + '.mp4'],
    ['a'.repeat(252) + '.mp4', 'a'.repeat(251) + '.mp4'],
    ['a'.repeat(100_000) + '.mp4', 'a'.repeat(251) + '.mp4'],
    ['é'.repeat(200) + '.mp4', 'é'.repeat(125) + '.mp4'],
    ['映'.repeat(200) + '.mkv', '映'.repeat(83) + '.mkv'],
    ['😀'.repeat(100) + '.mkv', '😀'.repeat(62) + '.mkv'],
    ['a'.repeat(300), 'a'.repeat(255)],
    ['a.' + 'b'.repeat(300), 'a.' + 'b'.repeat(253)],
    ['.' + '映'.repeat(300), '.' + '映'.repeat(84)]
  ]
  for (const [name, read] of table) {
    t.equal(readName(contentDisposition(name, 'inline')), read, `${name.slice(0, 4)}… (${name.length})`)
    t.ok(Buffer.byteLength(read) <= 255)
  }
})

t.test('whatever the name, the field is one line of ASCII that names something', async t => {
  const grammar = /^attachment; filename="a[\x20\x21\x23-\x5b\x5d-\x7e]b\.mp4"(; filename\*=UTF-8''a(%[0-9A-F]{2}|[A-Za-z0-9!#$&+.^_`|~-])+b\.mp4)?$/
  const fields = Array.from({ length: 0x10000 }, (_, code) => contentDisposition(`a${String.fromCharCode(code)}b.mp4`, 'attachment'))
  t.same(fields.filter(field => !grammar.test(field)), [])
})
