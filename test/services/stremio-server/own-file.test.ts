import t from 'tap'
import { ownFileOf } from '../../../services/stremio-server/own-file.ts'

const hash = '39730aa7c09b864432bc8c878c20c933059241fd'
const bases: [string, ...string[]] = ['https://my.example/streme', 'http://127.0.0.1:11470']

t.test('files of this server are known by each of their addresses', async (t) => {
  for (const [address, idx, rest] of [
    [`http://127.0.0.1:11470/${hash}/2`, '2', ''],
    [`http://127.0.0.1:11470/${hash}/-1?tr=udp%3A%2F%2Fa%3A1`, '-1', ''],
    [`https://my.example/streme/${hash.toUpperCase()}/Season%201/E01.mkv`, 'Season 1', 'E01.mkv'],
    [`https://my.example/streme/t/secret/${hash}/0/any.mkv`, '0', 'any.mkv'],
    [`http://127.0.0.1:11470/stream/proxy/${hash}?fileIndex=3`, '3', ''],
    [`/stream/proxy/${hash}`, '', ''],
    [`http://127.0.0.1:11470/stream/${hash}/4/name.mkv`, '4', ''],
    [`/api/torrents/${hash}/subtitles/5.vtt`, '5', '']
  ] as const) t.match(ownFileOf(address, bases), { idx, rest }, address)
  t.match(ownFileOf(`/stream/proxy/${hash}?episode=1:2&fileName=a.mkv`, bases), { idx: '', wish: { episode: { season: 1, episode: 2 }, fileName: 'a.mkv' } })
  t.match(ownFileOf(`http://127.0.0.1:11470/${hash}/-1?tr=udp%3A%2F%2Fa%3A1&f=x`, bases), { tr: ['udp://a:1'], f: ['x'] })
})

t.test('whatever else of this server is not fetched, and elsewhere is elsewhere', async (t) => {
  for (const address of ['http://127.0.0.1:11470/api/torrents', `http://127.0.0.1:11470/${hash}/remove`, `/${hash}/create`, '/metrics', 'nonsense']) t.equal(ownFileOf(address, bases), 'own', address)
  for (const address of ['file:///etc/passwd', 'data:,x', 'http://', '']) t.equal(typeof ownFileOf(address, bases), 'string', address)
  for (const address of ['http://127.0.0.1:11471/x', `https://other.example/${hash}/0`, 'http://my.example@evil.example/']) t.match(ownFileOf(address, bases), { foreign: { href: String } }, address)
})
