import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { temporaryDirectory, until } from '../testnet.ts'

const token = 'a-token-of-the-owner-0123456789'
const owner = { Authorization: `Bearer ${token}` }
const mock = '39730aa7c09b864432bc8c878c20c933059241fd'
const hashOf = (i: number): string => i.toString(16).padStart(40, 'e')
const json = { 'Content-Type': 'application/json' }

t.test('a stranger may bring so many new torrents a minute; seeks, retries and what is known cost nothing', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: token, NEW_TORRENTS_PER_MINUTE: '3' })
  const stream = async (i: number) => await jsonFrom(`${url}/stream/proxy/${hashOf(i)}`, { headers: { Range: `bytes=${i}-` } })
  t.equal((await stream(1)).status, 404)
  for (let again = 0; again < 5; again++) t.equal((await stream(1)).status, 404, 'once more')
  t.equal((await fetch(`${url}/stream/magnet?uri=magnet:?xt=urn:btih:${hashOf(2)}`)).status, 404)
  t.equal((await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: json, body: JSON.stringify({ infoHash: hashOf(3) }) })).status, 202)
  const refused = await stream(4)
  t.match(refused, { status: 429, body: { error: 'Too many requests', code: 'TOO_MANY_NEW' } })
  const seconds = Number(refused.headers.get('retry-after'))
  t.ok(seconds > 30 && seconds <= 60, `${seconds} s`)
  t.equal((await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: json, body: JSON.stringify({ infoHash: hashOf(5) }) })).status, 429)
  t.equal((await jsonFrom(`${url}/api/torrents/${hashOf(6)}/preload`, { method: 'POST', headers: json, body: '{}' })).status, 429)
  for (const i of [1, 2, 3]) t.not((await stream(i)).status, 429, 'what he brought before')
  t.equal((await fetch(`${url}/stream/proxy/${mock}`, { method: 'HEAD' })).status, 200, 'what is known')
  t.equal((await jsonFrom(`${url}/stream/status/${hashOf(7)}`)).status, 200, 'a question starts nothing')
  t.equal((await jsonFrom(`${url}/stream/proxy/${hashOf(8)}`, { headers: owner })).status, 404, 'the owner brings what he likes')
})

t.test('a stranger has so many streams at a time, and gets a place when he leaves one', async (t) => {
  const { url, directory } = await startApp(t, { API_TOKEN: token, MAX_STREAMS_PER_CLIENT: '2', MAX_STREAMS: '4' })
  const film = 'b'.repeat(40)
  // More than what all buffers on the way take; of zeros, so it takes no disk.
  await writeFile(join(directory, `${film}.mp4`), '')
  await truncate(join(directory, `${film}.mp4`), 100_000_000)
  const open = async (headers: Record<string, string> = {}) => {
    const controller = new AbortController()
    const response = await fetch(`${url}/stream/proxy/${film}`, { headers, signal: controller.signal })
    const { value = new Uint8Array() } = await response.body?.getReader().read() ?? {}
    return { response, text: Buffer.from(value).toString(), leave: () => { controller.abort() } }
  }
  const [first, second] = [await open(), await open()]
  t.same([first.response.status, second.response.status], [200, 200])
  const refused = await open()
  t.match({ status: refused.response.status, after: refused.response.headers.get('retry-after'), text: refused.text }, { status: 429, after: /^\d+$/, text: /TOO_MANY_STREAMS/ })
  t.equal((await fetch(`${url}/stream/proxy/${film}`, { method: 'HEAD' })).status, 200, 'a question takes no place')
  const owners = [await open(owner), await open(owner)]
  t.same(owners.map(({ response }) => response.status), [200, 200], 'the owner may have more')
  t.equal((await open(owner)).response.status, 503, 'but no more than all together')
  first.leave()
  await until('there is a place', async () => {
    const next = await open()
    next.leave()
    return next.response.status === 200
  })
  for (const { leave } of [second, ...owners]) leave()
})

t.test('a blocked torrent is not touched, whoever asks, and plays when the list has it no more', async (t) => {
  const list = join(await temporaryDirectory(t), 'blocked.txt')
  await writeFile(list, `${mock} # not here\n`)
  const { url, app } = await startApp(t, { INFOHASH_BLOCKLIST: list })
  for (const path of [`/stream/proxy/${mock}`, `/stream/${mock}/0/a.mp4`, `/stream/magnet?uri=magnet:?xt=urn:btih:${mock}`, `/stream/proxy/${mock}/playlist.m3u`, `/api/torrents/${mock}/health`]) t.match(await jsonFrom(url + path), { status: 403, body: { code: 'INFOHASH_BLOCKED' } }, path)
  t.match(await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: json, body: JSON.stringify({ infoHash: mock.toUpperCase() }) }), { status: 403, body: { code: 'INFOHASH_BLOCKED' } })
  await t.rejects(app.sources.open({ infohash: mock, fileIndex: null, trackers: [], head: { start: 0 } }, AbortSignal.timeout(5000)), /INFOHASH_BLOCKLIST/, 'nor what was added before')
  await writeFile(list, '')
  await app.blocklist?.refresh()
  t.equal((await fetch(`${url}/stream/proxy/${mock}`, { method: 'HEAD' })).status, 200)
})

t.test('a server whose list is not there does not start', async (t) => {
  await t.rejects(startApp(t, { INFOHASH_BLOCKLIST: '/no/such/list' }), /INFOHASH_BLOCKLIST/)
})

t.test('who guesses tokens is shut out for a while, and who has an old one is not', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: 'short' })
  const withToken = async (text: string) => await jsonFrom(`${url}/api/cache`, { headers: { Authorization: `Bearer ${text}` } })
  for (let i = 0; i < 30; i++) t.equal((await withToken('old')).status, 401)
  for (let i = 0; i < 10; i++) t.equal((await withToken(`guess${i}`)).status, 401)
  for (let i = 0; i < 5; i++) t.equal((await jsonFrom(`${url}/api/session`, { method: 'POST', headers: json, body: JSON.stringify({ token: `login${i}` }) })).status, 401)
  for (let i = 0; i < 4; i++) t.equal((await jsonFrom(`${url}/t/secret${i}/health`)).status, 403)
  const refused = await withToken('short')
  t.match(refused, { status: 429, body: { code: 'TOO_MANY_ATTEMPTS' } }, 'a short one might have been guessed')
  t.match(refused.headers.get('retry-after'), /^\d+$/)
  t.equal((await jsonFrom(`${url}/api/session`, { method: 'POST', headers: json, body: '{"token":"short"}' })).status, 429)
  t.equal((await jsonFrom(`${url}/t/another/health`)).status, 429)
  t.equal((await withToken('old')).status, 401)
  t.equal((await fetch(`${url}/health`)).status, 200)
})

t.test('others at the same address cannot shut out who has a long token', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: token })
  for (let i = 0; i < 25; i++) await jsonFrom(`${url}/api/cache`, { headers: { Authorization: `Bearer guess${i}` } })
  t.equal((await jsonFrom(`${url}/api/cache`, { headers: { Authorization: 'Bearer guess99' } })).status, 429)
  t.equal((await jsonFrom(`${url}/api/cache`, { headers: owner })).status, 200)
})
