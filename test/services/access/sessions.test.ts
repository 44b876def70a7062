import t from 'tap'
import { Sessions, sessionCookie, sessionOf, setCookie } from '../../../services/access/sessions.ts'

const day = 86_400_000

t.test('a login counts for thirty days, and only with the token that it was made with', async (t) => {
  let now = 1_000 * day
  const sessions = new Sessions('the token', () => now)
  const { value, lifeSeconds } = sessions.begin()
  t.notMatch(value, /the token/)
  t.equal(lifeSeconds, 30 * 86_400)
  t.not(sessions.begin().value, value)
  t.ok(new Sessions('the token', () => now).isValid(value), 'a restart ends none')
  t.notOk(new Sessions('another token', () => now).isValid(value))
  now += 30 * day - 1000
  t.ok(sessions.isValid(value))
  now += 1000
  t.notOk(sessions.isValid(value))
})

t.test('a changed login is none', async (t) => {
  const sessions = new Sessions('the token')
  const { value } = sessions.begin()
  const [expires = '', id = '', mac = ''] = value.split('.')
  for (const other of ['', '.', '..', value.slice(1), value.slice(0, -1), `${value}x`, `${Number(expires) + 1}.${id}.${mac}`, `${expires}.${id.replace(/./, (c) => c === 'A' ? 'B' : 'A')}.${mac}`, `${expires}.${id}.${'A'.repeat(43)}`, `${expires}.${id}.`]) t.notOk(sessions.isValid(other), other)
})

t.test('one that was ended counts no more, and what is none ends nothing', async (t) => {
  let now = 1_000 * day
  const sessions = new Sessions('the token', () => now)
  const [first, second] = [sessions.begin().value, sessions.begin().value]
  sessions.end(first)
  sessions.end('nonsense')
  t.notOk(sessions.isValid(first))
  t.ok(sessions.isValid(second))
  now += 31 * day
  sessions.end(sessions.begin().value)
  t.notOk(sessions.isValid(first), 'nor when it is forgotten that it was ended')
})

t.test('the cookie is found among others, and only the server’s own pages send it', async (t) => {
  const name = sessionCookie(1)
  t.equal(sessionOf('a=b; self_streme_session_1=x.y.z; c=d', name), 'x.y.z')
  t.equal(sessionOf('self_streme_session_1=x=y', name), 'x=y')
  for (const cookie of [undefined, '', 'other_self_streme_session_1=x', 'self_streme_session_1x=y', 'x=self_streme_session_1', 'self_streme_session_11=x']) t.equal(sessionOf(cookie, name), null, String(cookie))
  t.equal(setCookie({ value: 'x', lifeSeconds: 9 }, { name, path: '/', isSecure: false }), 'self_streme_session_1=x; Path=/; Max-Age=9; HttpOnly; SameSite=Strict')
  t.equal(setCookie(null, { name, path: '/here', isSecure: true }), 'self_streme_session_1=; Path=/here; Max-Age=0; HttpOnly; SameSite=Strict; Secure')
})
