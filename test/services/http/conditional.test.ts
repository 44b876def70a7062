import t from 'tap'

import { evaluateConditions, isRangeAllowed, readField } from '../../../services/http/conditional.ts'

const etag = '"dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c-0"'
const lastModified = new Date('2020-01-02T03:04:05.678Z')
const same = 'Thu, 02 Jan 2020 03:04:05 GMT'
const before = 'Thu, 02 Jan 2020 03:04:04 GMT'
const after = 'Thu, 02 Jan 2020 03:04:06 GMT'

type Tap = Pick<typeof t, 'equal'>
type Row = [headers: Record<string, string>, verdict: ReturnType<typeof evaluateConditions>, why?: string]

function check (t: Tap, rows: Row[], method = 'GET', modified: Date | null = lastModified): void {
  for (const [headers, verdict, why] of rows) {
    t.equal(evaluateConditions({ method, headers, etag, lastModified: modified }), verdict, `${method} ${why ?? JSON.stringify(headers)}`)
  }
}

t.test('If-Match goes on with our tag only, compared strongly', async t => {
  check(t, [
    [{}, 'proceed'],
    [{ 'if-match': '*' }, 'proceed'],
    [{ 'if-match': etag }, 'proceed'],
    [{ 'if-match': `"a", ${etag}` }, 'proceed'],
    [{ 'if-match': `"a",${etag},"b"` }, 'proceed'],
    [{ 'if-match': `, "a" ,, ${etag} ,` }, 'proceed'],
    [{ 'if-match': `"with,comma", ${etag}` }, 'proceed'],
    [{ 'if-match': `W/${etag}` }, 'precondition-failed', 'a weak tag is never strongly equal'],
    [{ 'if-match': '"other"' }, 'precondition-failed'],
    [{ 'if-match': `"before ${etag.slice(1)}` }, 'precondition-failed', 'a tag with a space in it is none'],
    [{ 'if-match': '' }, 'precondition-failed', 'no tag matches'],
    [{ 'if-match': etag.replaceAll('"', '') }, 'precondition-failed', 'a tag without quotes is none'],
    [{ 'if-match': `${etag} ${etag}` }, 'precondition-failed', 'a list without commas is none'],
    [{ 'if-match': `"a", ${etag}, b` }, 'precondition-failed', 'half a list is none'],
    [{ 'if-match': `*, ${etag}` }, 'precondition-failed', '* stands alone']
  ])
})

t.test('a comma inside quotes does not end a tag', async t => {
  const commas = { method: 'GET', etag: '"a,b"', lastModified: null }
  t.equal(evaluateConditions({ ...commas, headers: { 'if-none-match': '"x", "a,b"' } }), 'not-modified')
  t.equal(evaluateConditions({ ...commas, etag: '"b"', headers: { 'if-none-match': '"x","a,","b,"' } }), 'proceed')
  t.equal(evaluateConditions({ ...commas, etag: '","', headers: { 'if-none-match': '"x","y"' } }), 'proceed')
})

t.test('If-Unmodified-Since counts when there is no If-Match', async t => {
  check(t, [
    [{ 'if-unmodified-since': same }, 'proceed', 'fractions of a second do not count'],
    [{ 'if-unmodified-since': after }, 'proceed'],
    [{ 'if-unmodified-since': before }, 'precondition-failed'],
    [{ 'if-unmodified-since': 'yesterday' }, 'proceed', 'what is no date is ignored'],
    [{ 'if-match': etag, 'if-unmodified-since': before }, 'proceed', 'If-Match goes first'],
    [{ 'if-match': '"other"', 'if-unmodified-since': after }, 'precondition-failed']
  ])
  check(t, [[{ 'if-unmodified-since': before }, 'proceed', 'no date of ours, nothing to compare']], 'GET', null)
})

t.test('If-None-Match answers 304 to our tag, compared weakly', async t => {
  for (const method of ['GET', 'HEAD']) {
    check(t, [
      [{ 'if-none-match': etag }, 'not-modified'],
      [{ 'if-none-match': `W/${etag}` }, 'not-modified'],
      [{ 'if-none-match': `"a", W/"b", W/${etag}` }, 'not-modified'],
      [{ 'if-none-match': '*' }, 'not-modified'],
      [{ 'if-none-match': '"other"' }, 'proceed'],
      [{ 'if-none-match': `w/${etag}` }, 'proceed', 'W/ is case-sensitive'],
      [{ 'if-none-match': 'nonsense' }, 'proceed'],
      [{ 'if-none-match': '' }, 'proceed']
    ], method)
  }
  check(t, [[{ 'if-none-match': etag }, 'precondition-failed'], [{ 'if-none-match': '*' }, 'precondition-failed']], 'PUT')
})

t.test('If-Modified-Since counts for GET and HEAD when there is no If-None-Match', async t => {
  for (const method of ['GET', 'HEAD']) {
    check(t, [
      [{ 'if-modified-since': same }, 'not-modified', 'fractions of a second do not count'],
      [{ 'if-modified-since': after }, 'not-modified'],
      [{ 'if-modified-since': before }, 'proceed'],
      [{ 'if-modified-since': 'Thursday, 02-Jan-20 03:04:05 GMT' }, 'not-modified'],
      [{ 'if-modified-since': 'Thu Jan  2 03:04:05 2020' }, 'not-modified'],
      [{ 'if-modified-since': '2020-01-02' }, 'proceed'],
      [{ 'if-none-match': '"other"', 'if-modified-since': after }, 'proceed', 'If-None-Match goes first'],
      [{ 'if-none-match': 'nonsense', 'if-modified-since': after }, 'proceed', 'also when it is malformed']
    ], method)
  }
  check(t, [[{ 'if-modified-since': after }, 'proceed']], 'POST')
  check(t, [[{ 'if-modified-since': after }, 'proceed']], 'GET', null)
})

t.test('412 goes before 304', async t => {
  check(t, [
    [{ 'if-match': '"other"', 'if-none-match': etag }, 'precondition-failed'],
    [{ 'if-match': etag, 'if-none-match': etag }, 'not-modified'],
    [{ 'if-unmodified-since': before, 'if-modified-since': after }, 'precondition-failed'],
    [{ 'if-unmodified-since': after, 'if-modified-since': after }, 'not-modified']
  ])
})

t.test('If-Range: our strong tag or exactly our date, else the whole file', async t => {
  const table: Array<[ifRange: string | undefined, isAllowed: boolean]> = [
    [undefined, true], [etag, true], [`W/${etag}`, false], ['"other"', false], [`${etag}, "b"`, false], [`${etag} `, false], ['*', false], ['', false],
    [same, true], ['Thursday, 02-Jan-20 03:04:05 GMT', true], [before, false], [after, false], ['nonsense', false]
  ]
  for (const [ifRange, isAllowed] of table) t.equal(isRangeAllowed(ifRange, etag, lastModified), isAllowed, String(ifRange))
  t.equal(isRangeAllowed(same, etag, null), false, 'a date, and we have none')
  t.equal(isRangeAllowed('W/"weak"', 'W/"weak"', null), false, 'a weak tag of ours is never strong')
})

t.test('a field that came twice is one list', async t => {
  t.equal(readField({ a: ['1', '2'] }, 'a'), '1, 2')
  t.equal(readField({}, 'a'), undefined)
})

t.test('a long list of tags costs nothing', async t => {
  const startedAt = performance.now()
  for (const field of ['"a",'.repeat(3e5), '"' + 'a'.repeat(1e6), ' '.repeat(1e6) + 'x', '"a"' + ' '.repeat(1e6) + '"b"', 'W/'.repeat(5e5)]) {
    evaluateConditions({ method: 'GET', headers: { 'if-none-match': field }, etag, lastModified })
  }
  // Linear readers take milliseconds here, a quadratic one minutes
  t.ok(performance.now() - startedAt < 5000)
})
