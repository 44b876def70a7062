import t from 'tap'

import { parseRange, parseRangeHead } from '../../../services/http/range.ts'

const len = 1000
const whole = { start: 0, end: 999 }

function specs (count: number, step: number): string {
  return 'bytes=' + Array.from({ length: count }, (_, i) => `${i * step}-${i * step}`).join(',')
}

t.test('one range selects the bytes it names', async t => {
  const table: Array<[header: string, start: number, end: number]> = [
    ['bytes=0-0', 0, 0],
    ['bytes=0-1', 0, 1],
    ['bytes=0-', 0, 999],
    ['bytes=0-999', 0, 999],
    ['bytes=0-1000', 0, 999],
    ['bytes=999-', 999, 999],
    ['bytes=999-999', 999, 999],
    ['bytes=5-5', 5, 5],
    ['bytes=-1', 999, 999],
    ['bytes=-1000', 0, 999],
    ['bytes=-1001', 0, 999],
    ['bytes=-99999999999999999999999999', 0, 999],
    ['bytes=500-99999999999999999999999999', 500, 999],
    [`bytes=500-${'9'.repeat(400)}`, 500, 999],
    [`bytes=${'0'.repeat(400)}7-9`, 7, 9],
    ['BYTES=1-2', 1, 2],
    ['Bytes=1-2', 1, 2],
    ['bytes=,1-2', 1, 2],
    ['bytes=1-2,', 1, 2],
    ['bytes=, ,\t1-2 , ,', 1, 2]
  ]
  for (const [header, start, end] of table) t.same(parseRange(header, len), [{ start, end }], header.slice(0, 60))
})

t.test('what is no byte range is ignored, so that the whole file is sent', async t => {
  const table: Array<string | undefined> = [
    undefined, '', 'bytes', 'bytes=', 'bytes=,', 'bytes= ', 'bytes=-', 'bytes=--1', 'bytes=1--2', 'bytes=-1-', 'bytes=1', 'bytes=1-2-3',
    'bytes=5-4', 'bytes=0-1,5-4', 'bytes=5-4,0-1', 'bytes=2000-1999',
    'bytes=a-b', 'bytes=0-b', 'bytes=0x10-0x20', 'bytes=1e2-', 'bytes=1.0-2', 'bytes=+1-2', 'bytes=0-1x', 'bytes=0-1;2-3', 'bytes=0-1 2-3',
    'bytes=0 -1', 'bytes=0- 1', 'bytes = 0-1', 'bytes =0-1', 'bytes= 0-1', ' bytes=0-1', 'bytes=0-1,\u00a02-3', 'bytes=0-1,\n2-3', 'bytes=٣-٤',
    'bytes:0-1', 'bytes 0-1', 'bytes=0-1, bytes=2-3', 'octets=0-1', 'seconds=0-10', 'xbytes=0-1', 'none', '0-1'
  ]
  for (const header of table) t.equal(parseRange(header, len), null, JSON.stringify(header))
})

t.test('a range of which nothing exists is unsatisfiable', async t => {
  const table: Array<[header: string, lengthBytes: number]> = [
    ['bytes=1000-', len], ['bytes=1000-1000', len], ['bytes=1000-2000', len], ['bytes=99999999999999999999-', len],
    ['bytes=99999999999999999999-99999999999999999999', len], ['bytes=-0', len], ['bytes=-000', len], ['bytes=1000-,-0,5000-6000', len],
    ['bytes=0-', 0], ['bytes=0-0', 0], ['bytes=-1', 0], ['bytes=-0', 0]
  ]
  for (const [header, lengthBytes] of table) t.equal(parseRange(header, lengthBytes), 'unsatisfiable', `${header} of ${lengthBytes}`)
})

t.test('several ranges: what does not exist is dropped, what nearly touches is joined, the rest keeps its order', async t => {
  const table: Array<[header: string, expected: Array<[number, number]>]> = [
    ['bytes=0-9,500-509', [[0, 9], [500, 509]]],
    ['bytes=500-509,0-9', [[500, 509], [0, 9]]],
    ['bytes=0-9 ,\t500-509', [[0, 9], [500, 509]]],
    ['bytes=-10,0-9', [[990, 999], [0, 9]]],
    ['bytes=0-9,5000-', [[0, 9]]],
    ['bytes=0-9,-0', [[0, 9]]],
    ['bytes=0-9,10-19', [[0, 19]]],
    ['bytes=10-19,0-9', [[0, 19]]],
    ['bytes=0-9,5-19', [[0, 19]]],
    ['bytes=0-99,10-19', [[0, 99]]],
    ['bytes=0-0,0-0,0-0', [[0, 0]]],
    ['bytes=0-,0-,-5', [[0, 999]]],
    ['bytes=0-9,89-99', [[0, 99]]],
    ['bytes=0-9,90-99', [[0, 9], [90, 99]]],
    ['bytes=900-909,0-9,400-409,10-19', [[900, 909], [0, 19], [400, 409]]],
    ['bytes=400-409,900-909,410-419', [[400, 419], [900, 909]]],
    ['bytes=100-109,900-909,50-59', [[50, 109], [900, 909]]],
    ['bytes=0-9,160-169,80-89', [[0, 169]]]
  ]
  for (const [header, expected] of table) t.same(parseRange(header, len), expected.map(([start, end]) => ({ start, end })), header)
})

t.test('ten parts are sent, for more the whole file', async t => {
  t.equal(parseRange(specs(10, 100), 100_000)?.length, 10)
  t.equal(parseRange(specs(11, 100), 100_000), null)
  t.same(parseRange(specs(100, 1), len), [{ start: 0, end: 99 }], 'a hundred that join into one are one')
  t.equal(parseRange(specs(101, 1), len), null, 'more than a hundred are not read')
  t.same(parseRange('bytes=' + ','.repeat(99) + '0-0', len), [{ start: 0, end: 0 }])
  t.equal(parseRange('bytes=' + ','.repeat(100) + '0-0', len), null, 'empty elements count')
})

t.test('header bombs cost nothing', async t => {
  const bombs = [
    'bytes=' + '0-,'.repeat(1e6), 'bytes=' + ','.repeat(1e6), 'bytes=0-0' + ' '.repeat(1e6) + 'x', 'bytes=' + '1'.repeat(1e6),
    'bytes=1-' + '1'.repeat(1e6) + 'x', 'bytes=0-0,' + '\t'.repeat(1e6), 'bytes=' + '-'.repeat(1e6)
  ]
  const startedAt = performance.now()
  for (const bomb of bombs) parseRange(bomb, len)
  // Linear readers take milliseconds here, a quadratic one minutes
  t.ok(performance.now() - startedAt < 5000)
})

t.test('files longer than 4 GiB and 2^53', async t => {
  t.same(parseRange('bytes=5000000000-', 6e9), [{ start: 5e9, end: 6e9 - 1 }])
  t.same(parseRange('bytes=-1', Number.MAX_SAFE_INTEGER), [{ start: Number.MAX_SAFE_INTEGER - 1, end: Number.MAX_SAFE_INTEGER - 1 }])
  t.same(parseRange('bytes=0-', 1), [{ start: 0, end: 0 }])
  t.same(parseRange('bytes=-5', len), [{ ...whole, start: 995 }])
})

t.test('where a client wants to begin is known before the length is', async t => {
  const table: Array<[header: string | undefined, head: { start: number } | { last: number }]> = [
    [undefined, { start: 0 }],
    ['bytes=0-', { start: 0 }],
    ['bytes=700-', { start: 700 }],
    ['bytes=700-800', { start: 700 }],
    ['bytes=-500', { last: 500 }],
    ['bytes=700-800,0-1', { start: 700 }],
    ['bytes=-0', { start: 0 }],
    ['bytes=-0,-5', { last: 5 }],
    ['bytes=nonsense', { start: 0 }],
    ['items=7-', { start: 0 }],
    ['bytes=99999999999999999999-', { start: Number.MAX_SAFE_INTEGER }]
  ]
  for (const [header, head] of table) t.same(parseRangeHead(header), head, String(header))
})
