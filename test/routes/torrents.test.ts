import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { linksFrom } from '../../services/links.ts'
import { torrentView } from '../../services/torrent/torrent-view.ts'
import { followEvents } from '../event-client.ts'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { TestTorrent } from '../testnet.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

async function film (name = 'Film.mp4', length = 300_000): Promise<TestTorrent> {
  return await makeTorrent({ [name]: testBytes(length, name) })
}

function form (...parts: ReadonlyArray<readonly [name: string, value: string | Buffer]>): FormData {
  const form = new FormData()
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, new Blob([new Uint8Array(value)]), 'film.torrent')
  }
  return form
}

async function upload (url: string, body: Buffer | FormData, type?: string) {
  const headers = type === undefined ? {} : { 'Content-Type': type }
  return await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers, body: body instanceof FormData ? body : new Uint8Array(body) })
}

t.test('a .torrent is added as the body or in a form; its metadata is known at once, and its web seeds deliver', async (t) => {
  const content = testBytes(300_000, 'film')
  const mirror = await startMirror(t, await makeTorrent({ 'Film.mp4': content }))
  const torrent = await makeTorrent({ 'Film.mp4': content }, { webSeeds: [mirror.webSeed] })
  for (const [name, body, type] of [
    ['application/x-bittorrent', torrent.torrent, 'application/x-bittorrent'],
    ['application/octet-stream', torrent.torrent, 'application/octet-stream'],
    ['a form', form(['torrent', torrent.torrent], ['name', 'Mine']), undefined],
    ['a form whose field has another name', form(['file', torrent.torrent]), undefined]
  ] as const) {
    const { url } = await startApp(t)
    const { status, body: answer } = await upload(url, body, type)
    t.equal(status, 202, name)
    t.match(answer, { success: true, data: { infoHash: torrent.infohash, name: 'Film.mp4', fileCount: 1, files: [{ index: 0, name: 'Film.mp4', length: content.length, isVideo: true, isSelected: true }] } }, name)
    t.ok(content.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)), name)
    await until('it is cached', async () => (await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)).body.data.cached)
    t.equal((await upload(url, body, type)).status, 200, 'added again: it is there')
  }
})

t.test('a .torrent that is added while its swarm is being searched ends the search', async (t) => {
  const torrent = await film()
  const { url, app } = await startApp(t, { ENABLE_P2P: 'true' })
  await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  await until('it looks for metadata', () => app.torrents.get(torrent.infohash))
  t.equal((await upload(url, torrent.torrent, 'application/x-bittorrent')).status, 202)
  t.ok(app.torrents.get(torrent.infohash)?.metadata)
})

t.test('a .torrent that was added is known after a restart, with nobody else to ask', async (t) => {
  const torrent = await film()
  const directory = join(await temporaryDirectory(t), 'cache')
  const first = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  t.equal((await upload(first.url, torrent.torrent, 'application/x-bittorrent')).status, 202)
  await first.app.close()
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  t.match((await jsonFrom(`${url}/api/torrents/${torrent.infohash}/files`)).body, { success: true, data: [{ name: 'Film.mp4' }], total: 1 })
})

t.test('what is no .torrent, too large, or several at a time is told so', async (t) => {
  const { url } = await startApp(t)
  const [one, another] = [await film('one.mp4'), await film('two.mp4')]
  for (const [name, body, type, status, message] of [
    ['nonsense', Buffer.from('nonsense'), 'application/x-bittorrent', 400, /this is no \.torrent/],
    ['a web page', Buffer.from('<!DOCTYPE html>'), 'application/octet-stream', 400, /this is no \.torrent/],
    ['half of one', one.torrent.subarray(0, one.torrent.length / 2), 'application/x-bittorrent', 400, /not valid bencode at byte \d+/],
    ['11 MB', Buffer.alloc(11_000_000), 'application/x-bittorrent', 413, /10 MiB/],
    ['11 MB in a form', form(['torrent', Buffer.alloc(11_000_000)]), undefined, 413, /10 MiB/],
    ['two in a form', form(['torrent', one.torrent], ['torrent', another.torrent]), undefined, 400, /2 files: add one \.torrent at a time/],
    ['a form that is none', Buffer.from('nonsense'), 'multipart/form-data; boundary=x', 400, /form cannot be read/],
    ['a form without a boundary', Buffer.from('nonsense'), 'multipart/form-data', 400, /form cannot be read/],
    ['another type', Buffer.from('x'), 'text/plain', 415, /text\/plain/]
  ] as const) {
    const { status: actual, body: answer } = await upload(url, body, type)
    t.equal(actual, status, name)
    t.match(answer, { error: String, message, requestId: /^[0-9a-f]{8}-/ }, name)
  }
  t.match(await upload(url, form(['name', 'nothing else'])), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await upload(url, form(['infoHash', infohash])), { status: 202, body: { data: { infoHash: infohash } } })
  t.equal((await jsonFrom(`${url}/api/torrents`)).body.total, 1)
})

t.test('uploads that never end leave room for nobody but do not fill the memory: the fifth waits, and takes the place of one that goes', async (t) => {
  const torrent = await film()
  const { url } = await startApp(t)
  const stuck = []
  for (let i = 0; i < 4; i++) {
    const asking = request(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/x-bittorrent', 'Content-Length': 1_000_000, Expect: '100-continue' }, agent: false })
    asking.on('error', () => {})
    t.teardown(() => { asking.destroy() })
    asking.flushHeaders()
    // The server has its headers, and a place for it.
    await once(asking, 'continue')
    asking.write('d')
    stuck.push(asking)
  }
  const fifth = upload(url, torrent.torrent, 'application/x-bittorrent')
  const settled = await Promise.race([fifth.then(() => true), new Promise((resolve) => { setTimeout(resolve, 200, false) })])
  t.equal(settled, false)
  stuck[0]?.destroy()
  t.equal((await fifth).status, 202)
})

t.test('a magnet that selects files (BEP 53) downloads those, and says which', async (t) => {
  const files = { 'E01.mkv': testBytes(100_000, '1'), 'E02.mkv': testBytes(90_000, '2'), 'E03.mkv': testBytes(80_000, '3'), 'readme.txt': testBytes(100, '4') }
  const torrent = await makeTorrent(files, { name: 'Season' })
  const mirror = await startMirror(t, torrent)
  const directory = join(await temporaryDirectory(t), 'cache')
  const { url, app } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const add = async (so: string) => await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ magnetUri: `magnet:?xt=urn:btih:${torrent.infohash}&so=${so}` }) })
  t.equal((await add('1-2,99')).status, 202)
  const { data } = await until('both are cached', async () => {
    const { body } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)
    return body.data.cached === true ? body : null
  })
  t.match(data, { length: 170_000, downloaded: 170_000, progress: 1, fileIndex: 1, isDefaultFile: false, streamUrl: `/stream/proxy/${torrent.infohash}?fileIndex=1` })
  t.same(data.files.map(({ isSelected, progress }: { isSelected: boolean, progress: number }) => [isSelected, progress === 1]).slice(0, 3), [[false, false], [true, true], [true, true]])
  t.equal((await add('1-2')).status, 200)
  t.match(await add('0-1000'), { status: 400, body: { code: 'MAGNET_INVALID', message: /selects 1001 files/ } })
  await app.close()
  const again = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  t.match((await jsonFrom(`${again.url}/api/torrents/${torrent.infohash}`)).body.data, { length: 170_000, cached: true }, 'the choice is kept')
})

t.test('a file that a person placed stays when its torrent is deleted, and everybody is told so', async (t) => {
  const { url, directory } = await startApp(t)
  await writeFile(join(directory, `${infohash}-film.mp4`), testBytes(1_000_000, 'placed'))
  await until('it is listed', async () => (await jsonFrom(`${url}/api/torrents`)).body.total === 1)
  const events = await followEvents(t, `${url}/api/events`)
  t.match(await jsonFrom(`${url}/api/torrents/${infohash}?deleteFiles=true`, { method: 'DELETE' }), { status: 200, body: { data: { deletedFiles: false } } })
  t.equal((await jsonFrom(`${url}/api/torrents`)).body.total, 1)
  await events.next(({ type }) => type === 'removed')
  t.match((await events.next(({ type }) => type === 'progress')).data, { infoHash: infohash, cached: true })
})

t.test('lists come in pages, each field as the service has it', async (t) => {
  const { url, app } = await startApp(t)
  const hashes = Array.from({ length: 25 }, (_, i) => i.toString(16).padStart(40, '0'))
  for (const infohash of hashes) await app.torrentList.add({ infohash, hints: { name: `film ${infohash.slice(-2)}` }, metadata: null })
  const page = async (query: string) => (await jsonFrom(`${url}/api/torrents${query}`)).body
  const newestFirst = [...hashes].reverse()
  t.match(await page(''), { success: true, total: 25, offset: 0, limit: 100, lastEventId: /^[0-9a-f]{8}-\d+$/ })
  const seen = []
  for (const offset of [0, 10, 20, 30]) seen.push(...(await page(`?offset=${offset}&limit=10`)).data)
  t.same(seen.map(({ infoHash }: { infoHash: string }) => infoHash), newestFirst)
  const status = await app.torrentList.status(hashes[3] ?? '')
  if (status === null) throw new Error('it was added')
  const { reason, ...rest } = torrentView(status, linksFrom(null))
  t.match(seen.find(({ infoHash }: { infoHash: string }) => infoHash === hashes[3]), rest)
  t.same(Object.keys(seen[0]).sort(), Object.keys(torrentView(status, linksFrom(null))).sort(), 'none is lost by its schema')

  for (const [query, field, message] of [
    ['?limit=0', 'limit', 'query limit: must be >= 1, got 0'],
    ['?limit=1001', 'limit', 'query limit: must be <= 1000, got 1001'],
    ['?limit=1e400', 'limit', 'query limit: must be <= 1000, got Infinity'],
    ['?limit=many', 'limit', 'query limit: must be integer, got "many"'],
    ['?offset=-1', 'offset', 'query offset: must be >= 0, got -1']
  ] as const) t.match(await jsonFrom(`${url}/api/torrents${query}`), { status: 400, body: { error: 'Bad request', message, details: [{ in: 'query', field }] } })
})

t.test('files come in pages, each field as the service has it', async (t) => {
  const torrent = await makeTorrent(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [`${i}.mkv`, testBytes(100 + i, `${i}`)])), { name: 'Many' })
  const { url, app } = await startApp(t)
  await upload(url, torrent.torrent, 'application/x-bittorrent')
  const { body } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}/files?offset=10&limit=5`)
  t.match(body, { success: true, total: 30, offset: 10, limit: 5 })
  t.same(body.data.map(({ index }: { index: number }) => index), [10, 11, 12, 13, 14])
  const { entries } = await app.torrentList.files(torrent.infohash, { offset: 10, limit: 1 })
  t.same(body.data[0], { ...entries[0], streamUrl: `/stream/proxy/${torrent.infohash}?fileIndex=10` })
})

t.test('a map says which pieces are here: while it is downloaded, when it is stored, and of a part of a season', async (t) => {
  const files = { '1.mkv': testBytes(100_000, '1'), '2.mkv': testBytes(100_000, '2') }
  const torrent = await makeTorrent(files, { name: 'Season', pieceLength: 16_384 })
  const mirror = await startMirror(t, torrent)
  const directory = join(await temporaryDirectory(t), 'cache')
  const { url, app } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const map = async (url: string) => {
    const { data } = (await jsonFrom(`${url}/api/torrents/${torrent.infohash}/pieces`)).body
    const bits = Buffer.from(data.bitfield, 'base64')
    return { ...data, here: Array.from({ length: data.pieceCount }, (_, i) => i).filter((i) => ((bits[i >> 3] ?? 0) & 0x80 >> (i & 7)) !== 0) }
  }
  await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=1`)
  await until('it is stored', async () => await app.stored.find(torrent.infohash, 1))
  // Seven pieces hold the second file; the first of them reaches into the one before, and was fetched whole.
  t.match(await map(url), { pieceCount: 13, pieceLength: 16_384, verified: 7, here: [6, 7, 8, 9, 10, 11, 12], inFlight: [] })
  await app.close()
  const again = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  t.match(await map(again.url), { verified: 6, here: [7, 8, 9, 10, 11, 12] })
  await jsonFrom(`${again.url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: infohash }) })
  t.match((await jsonFrom(`${again.url}/api/torrents/${infohash}/pieces`)).body, { success: true, data: null })
  t.equal((await jsonFrom(`${again.url}/api/torrents/${'c'.repeat(40)}/pieces`)).status, 404)
})

t.test('names of markup, quotes, right-to-left overrides and 4 KB come out as they are, and never in a header', async (t) => {
  const name = `<img src=x onerror=alert(1)>"'&\u202Egpj.mp4\r\nX-Injected: 1 ${'x'.repeat(4000 - 70)}.mp4`
  const torrent = await makeTorrent({ 'a.mp4': testBytes(20_000, 'a') }, { name })
  const { url } = await startApp(t)
  const { status, headers, body } = await upload(url, torrent.torrent, 'application/x-bittorrent')
  t.equal(status, 202)
  t.equal(body.data.name, torrent.metadata.name)
  t.equal(body.data.files[0].name, torrent.metadata.files[0]?.name)
  t.match(headers.get('content-type'), /^application\/json/)
  t.notMatch(JSON.stringify([...headers]), /onerror|Injected/i)
  const long = `${'שם '.repeat(300)}\u202E<script>`
  t.match((await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: infohash, name: long }) })).body, { data: { name: long } })
  for (const path of [`/api/torrents/${encodeURIComponent(long)}`, `/api/cache/${encodeURIComponent(long)}/pin`]) {
    const answer = await jsonFrom(`${url}${path}`, { method: path.endsWith('pin') ? 'POST' : 'GET' })
    t.match(answer, { status: 404, body: { infoHash: long } })
    t.notMatch(JSON.stringify([...answer.headers]), /script/)
  }
})

t.test('a server that may not write adds nothing', async (t) => {
  const { url } = await startApp(t, { CACHE_READ_ONLY: 'true' })
  t.match(await upload(url, (await film()).torrent, 'application/x-bittorrent'), { status: 403, body: { error: 'Read only' } })
  t.equal((await jsonFrom(`${url}/api/torrents`)).body.total, 0)
})

t.test('an error says which request it was; a path that has other methods names them', async (t) => {
  const { url } = await startApp(t)
  const { status, headers, body } = await jsonFrom(`${url}/api/torrents/${infohash}`)
  t.equal(status, 404)
  t.same(body, { error: 'Torrent not found', infoHash: infohash, requestId: headers.get('x-request-id') })
  const given = await jsonFrom(`${url}/api/torrents/${infohash}`, { headers: { 'X-Request-Id': 'mine' } })
  t.not(given.body.requestId, 'mine', 'nobody chooses what the log says')
  const wrong = await jsonFrom(`${url}/api/torrents/${infohash}`, { method: 'PATCH' })
  t.match(wrong, { status: 405, body: { error: 'Method not allowed', message: /PATCH is not a method of .*: it has DELETE, GET, HEAD/ } })
  t.equal(wrong.headers.get('allow'), 'DELETE, GET, HEAD')
  t.match(await jsonFrom(`${url}/api/nothing`), { status: 404, body: { error: 'Not found', message: /GET \/api\/nothing is not a route/, requestId: String } })
  t.match(await jsonFrom(`${url}/api/torrents/${'x'.repeat(3000)}`), { status: 414, body: { error: 'URI too long', requestId: String } })
  const asking = request(`${url}/api/torrents`, { headers: { 'X-Long': 'x'.repeat(20_000) }, agent: false }).end()
  const [response]: IncomingMessage[] = await once(asking, 'response')
  t.equal(response?.statusCode, 431)
  t.match(JSON.parse(Buffer.concat(await response?.toArray() ?? []).toString()), { error: 'Request header fields too large', message: /16 KiB/ })
  t.match(await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{' }), { status: 400, body: { error: 'Bad request', message: /JSON/ } })
  t.match(await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: infohash, name: 'x'.repeat(1001) }) }), { status: 400, body: { message: /body name: must NOT have more than 1000 characters, got "x+…/ } })
  t.match(await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: infohash, name: 'x'.repeat(2_000_000) }) }), { status: 413, body: { error: 'Payload too large', message: /1 MiB/ } })
})
