import t from 'tap'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'

t.test('the playlist of a torrent that nobody knew before plays as it stands, and downloads nothing by itself', async (t) => {
  const episodes = [testBytes(100_000, 'e1'), testBytes(120_000, 'e2')]
  const torrent = await makeTorrent({ 'Show שלום 1x01.mkv': episodes[0] ?? Buffer.alloc(0), 'Show שלום 1x02.mkv': episodes[1] ?? Buffer.alloc(0), 'Show שלום 1x02.he.srt': Buffer.from('1\n00:00:01,000 --> 00:00:02,000\nHi\n') }, { name: 'Show "שלום"', pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u`)
  t.equal(response.status, 200)
  t.match(Object.fromEntries(response.headers), {
    'content-type': 'audio/x-mpegurl; charset=utf-8', 'content-disposition': /^attachment; filename="Show _[^"]+_\.m3u"; filename\*=UTF-8''Show%20%22/, 'cache-control': 'no-store', 'access-control-allow-origin': '*'
  })
  const m3u = await response.text()
  t.notOk(mirror.requests.some((request) => request.startsWith('/by-index')))
  const urls = m3u.split('\n').filter((line) => line.startsWith('http'))
  t.equal(urls.length, 2)
  for (const [i, each] of urls.entries()) {
    t.match(each, new RegExp(`^${url}/stream/${torrent.infohash}/${i}/[^/]+\\.mkv$`))
    t.ok(episodes[i]?.equals(Buffer.from(await (await fetch(each)).arrayBuffer())))
  }
  const slave = /^#EXTVLCOPT:input-slave=(.*)$/m.exec(m3u)?.[1] ?? ''
  t.match(await (await fetch(slave)).text(), /^WEBVTT\n[^]*Hi/)
  t.equal((await (await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u?fileIndex=1`)).text()).split('\n').length, 6, 'one file alone')
  t.match(await jsonFrom(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u?fileIndex=3`), { status: 404, body: { error: 'Stream not found', reasons: [{ code: 'FILE_INDEX' }] } })
})

t.test('what has no metadata and plays all the same has a playlist, too', async (t) => {
  const { url, directory } = await startApp(t, { CACHE_ONLY_MODE: 'true' })
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, `${infohash}-Film.mp4`), testBytes(1_100_000, 'film'))
  t.equal(await (await fetch(`${url}/stream/proxy/${infohash}/playlist.m3u`)).text(), `#EXTM3U\n#PLAYLIST:${infohash}-Film.mp4\n#EXTINF:-1,${infohash}-Film.mp4\n${url}/stream/proxy/${infohash}\n`)
  t.match(await (await fetch(`${url}/stream/proxy/${mockHash}/playlist.m3u`)).text(), new RegExp(`${url}/stream/proxy/${mockHash}\n$`))
})

t.test('without metadata it is the fixed 404 with the reasons', async (t) => {
  const { url } = await startApp(t)
  t.match(await jsonFrom(`${url}/stream/proxy/${infohash}/playlist.m3u`), { status: 404, body: { error: 'Stream not found', reasons: [{ source: 'http-fallback', code: 'METADATA_NOT_FOUND' }] } })
  t.match(await jsonFrom(`${url}/stream/proxy/nonexistent/playlist.m3u`), { status: 404, body: { error: 'Stream not found', reasons: [{ code: 'INFOHASH_INVALID' }] } })
})

t.test('addresses are those that the client can reach', async (t) => {
  const { url } = await startApp(t, { BASE_URL: 'https://films.example/streme/' })
  t.match(await (await fetch(`${url}/stream/proxy/${mockHash}/playlist.m3u`)).text(), `\nhttps://films.example/streme/stream/proxy/${mockHash}\n`)
})
