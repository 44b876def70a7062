import t from 'tap'
import { isOwnHost, originOf } from '../../../services/access/own-names.ts'

const names = { baseUrl: 'https://films.example/here', hosts: ['nas.example.org', 'fd00::9'], origins: ['https://panel.example', 'http://nas:3000'] }
const nobody = { baseUrl: null, hosts: [], origins: [] }

t.test('a name that anybody could point here is none of ours', async (t) => {
  for (const host of ['127.0.0.1', '127.0.0.1:11470', '192.168.1.5:80', '8.8.8.8', '[::1]:11470', '[fd00::9]', 'localhost', 'LOCALHOST:11470', 'a.localhost', 'nas.local', 'nas.local.:11470', 'nas', 'self-streme:11470', '', undefined]) t.ok(isOwnHost(host, nobody), String(host))
  for (const host of ['evil.example', 'evil.example:11470', '127.0.0.1.evil.example', 'localhost.evil.example', 'local', 'x.local.example', 'films.example', 'evil.example.', '127.0.0.1:80@evil.example', 'a b', '[evil.example]', ':80', 'http://127.0.0.1']) t.equal(isOwnHost(host, nobody), host === 'local', host)
  for (const host of ['films.example', 'FILMS.example:443', 'nas.example.org:11470', 'nas.example.org.']) t.ok(isOwnHost(host, names), host)
  t.notOk(isOwnHost('sub.films.example', names))
})

t.test('a page is ours by its host, listed by its origin, and else somebody else’s', async (t) => {
  const host = '192.168.1.5:11470'
  for (const [origin, given, expected] of [
    [undefined, host, 'own'],
    ['http://192.168.1.5:11470', host, 'own'],
    ['https://192.168.1.5:11470', host, 'own'],
    ['http://192.168.1.5', host, 'foreign'],
    ['http://192.168.1.5:11471', host, 'foreign'],
    ['https://films.example', host, 'own'],
    ['https://films.example', 'films.example', 'own'],
    ['https://films.example', 'films.example:443', 'own'],
    ['https://panel.example', host, 'listed'],
    ['https://PANEL.example', host, 'listed'],
    ['http://panel.example', host, 'foreign'],
    ['http://nas:3000', host, 'listed'],
    ['https://evil.example', host, 'foreign'],
    ['https://films.example.evil.example', host, 'foreign'],
    ['null', host, 'foreign'],
    ['null', 'null', 'foreign'],
    ['', host, 'foreign'],
    ['file://', host, 'foreign'],
    ['chrome-extension://abc', host, 'foreign'],
    ['http://user@192.168.1.5:11470', host, 'foreign'],
    ['http://192.168.1.5:11470/path', host, 'foreign']
  ] as const) t.equal(originOf(origin, given, names), expected, `${origin} at ${given}`)
  t.equal(originOf('https://evil.example', host, { ...names, origins: ['*'] }), 'any')
  t.equal(originOf('https://panel.example', host, { ...names, origins: ['*', 'https://panel.example'] }), 'listed')
})
