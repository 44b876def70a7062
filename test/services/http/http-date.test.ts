import t from 'tap'

import { parseHttpDate } from '../../../services/http/http-date.ts'

const example = Date.UTC(1994, 10, 6, 8, 49, 37)
const now = new Date('2025-06-01T00:00:00Z')

t.test('the three forms of RFC 9110 name the same second', async t => {
  for (const text of ['Sun, 06 Nov 1994 08:49:37 GMT', 'Sunday, 06-Nov-94 08:49:37 GMT', 'Sun Nov  6 08:49:37 1994']) {
    t.equal(parseHttpDate(text, now), example, text)
  }
  t.equal(parseHttpDate('Wed Nov 16 08:49:37 1994'), Date.UTC(1994, 10, 16, 8, 49, 37), 'two digits in asctime')
})

t.test('every weekday and month is known, in all three forms', async t => {
  const long = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
  const misread: string[] = []
  for (let day = 0; day < 366; day++) {
    const date = new Date(Date.UTC(2024, 0, 1 + day, 23, 59, 59))
    const [weekday = '', dd = '', month = '', , time = ''] = date.toUTCString().replace(',', '').split(' ')
    const forms = [
      date.toUTCString(),
      `${long[date.getUTCDay()]}, ${dd}-${month}-24 ${time} GMT`,
      `${weekday} ${month} ${dd.replace(/^0/, ' ')} ${time} 2024`
    ]
    misread.push(...forms.filter(text => parseHttpDate(text, now) !== date.getTime()))
  }
  t.same(misread, [])
})

t.test('two digits of a year mean at most 50 years ahead', async t => {
  t.equal(parseHttpDate('Friday, 06-Jun-75 00:00:00 GMT', now), null, '2075-06-06 is a Thursday')
  t.equal(parseHttpDate('Thursday, 06-Jun-75 00:00:00 GMT', now), Date.UTC(2075, 5, 6))
  t.equal(parseHttpDate('Sunday, 06-Jun-76 00:00:00 GMT', now), Date.UTC(1976, 5, 6))
})

t.test('what is no date is null', async t => {
  const table = [
    '', '0', '-1', 'now', '1994-11-06T08:49:37Z', '784111777', 'Sun, 06 Nov 1994 08:49:37', 'Sun, 06 Nov 1994 08:49:37 UTC',
    'Sun, 06 Nov 1994 08:49:37 +0000', 'Sun, 06 Nov 1994 08:49:37 GMT ', ' Sun, 06 Nov 1994 08:49:37 GMT', 'Sun, 6 Nov 1994 08:49:37 GMT',
    'sun, 06 nov 1994 08:49:37 gmt', 'SUN, 06 NOV 1994 08:49:37 GMT', 'Mon, 06 Nov 1994 08:49:37 GMT', 'Sun, 06 Nov 94 08:49:37 GMT',
    'Sun, 06 Nov 1994 8:49:37 GMT', 'Sun, 06 Nov 1994 08:49 GMT', 'Sun, 06 Nov 1994 24:00:00 GMT', 'Sun, 06 Nov 1994 08:60:37 GMT',
    'Fri, 31 Feb 2025 00:00:00 GMT', 'Sat, 29 Feb 2025 00:00:00 GMT', 'Sun, 00 Nov 1994 08:49:37 GMT', 'Sun, 06 Foo 1994 08:49:37 GMT',
    'Sunfooday, 06-Nov-94 08:49:37 GMT', 'Sun, 06-Nov-94 08:49:37 GMT', 'Sunday, 06-Nov-1994 08:49:37 GMT', 'Sunday, 06 Nov 1994 08:49:37 GMT',
    'Sun Nov 6 08:49:37 1994', 'Sun Nov  6 08:49:37 1994 GMT', 'Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT',
    'Thu, 06 Nov 0094 08:49:37 GMT', 'Invalid Date'
  ]
  for (const text of table) t.equal(parseHttpDate(text, now), null, JSON.stringify(text))
})
