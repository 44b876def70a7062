import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'
import type { Test } from 'tap'
import type { TestTorrent } from '../testnet.ts'

const srt = Buffer.from('1\r\n00:00:01,000 --> 00:00:02,000\r\nHello <i>there</i>\r\n')
/** `שלום עולם טוב` and more, in windows-1255. */
const hebrew = Buffer.concat([Buffer.from('1\n00:00:01,000 --> 00:00:02,000\n'), Buffer.from([0xf9, 0xec, 0xe5, 0xed, 0x20, 0xf2, 0xe5, 0xec, 0xed, 0x2c, 0x20, 0xe6, 0xe4, 0x20, 0xf1, 0xf8, 0xe8, 0x20, 0xe8, 0xe5, 0xe1]), Buffer.from('\n')])
const episode = testBytes(200_000, 'episode')

async function seasonPack (): Promise<TestTorrent> {
  return await makeTorrent({
    'Show.S01E01.mkv': episode,
    'Show.S01E01.heb.forced.srt': hebrew,
    'Show.S01E02.mkv': testBytes(200_000, 'episode 2'),
    'Subs/Show.S01E02/2_English.srt': srt,
    'huge.srt': Buffer.alloc(10_000_001, '1\n')
  }, { name: 'Show', pieceLength: 65_536 })
}

async function serve (t: Test, torrent: TestTorrent, env: Record<string, string> = {}) {
  const mirror = await startMirror(t, torrent)
  return { mirror, ...await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env }) }
}

t.test('the subtitles of a season pack that nobody knew before: listed by episode and language, read as they are and as WebVTT', async (t) => {
  const torrent = await seasonPack()
  const { url, mirror } = await serve(t, torrent)
  const subtitles = `${url}/api/torrents/${torrent.infohash}/subtitles`

  const { status, body } = await jsonFrom(subtitles)
  t.equal(status, 200)
  t.match(body, {
    success: true,
    data: [
      { fileIndex: 1, name: 'Show.S01E01.heb.forced.srt', format: 'srt', language: 'he', isForced: true, isHearingImpaired: false, videos: [0], url: `${subtitles}/1`, vttUrl: `${subtitles}/1.vtt` },
      { fileIndex: 3, path: 'Subs/Show.S01E02/2_English.srt', language: 'en', length: srt.length, videos: [2] },
      { fileIndex: 4, name: 'huge.srt', language: null, videos: [] }
    ]
  })
  t.notOk(mirror.requests.some((request) => request.startsWith('/by-index')), 'nothing was downloaded for the list')
  t.same((await jsonFrom(`${subtitles}?fileIndex=2`)).body.data.map(({ fileIndex }: { fileIndex: number }) => fileIndex), [3, 4])

  const raw = await fetch(`${subtitles}/3`)
  t.match(Object.fromEntries(raw.headers), { 'content-type': 'application/x-subrip; charset=utf-8', 'access-control-allow-origin': '*', etag: `"${torrent.infohash}-3"`, 'cache-control': 'private, max-age=3600', 'x-content-type-options': 'nosniff' })
  t.ok(srt.equals(Buffer.from(await raw.arrayBuffer())))

  const vtt = await fetch(`${subtitles}/3.vtt`)
  t.match(Object.fromEntries(vtt.headers), { 'content-type': 'text/vtt; charset=utf-8', 'access-control-allow-origin': '*', etag: `"${torrent.infohash}-3-vtt"` })
  const text = 'WEBVTT\n\n00:00:01.000 --> 00:00:02.000\nHello <i>there</i>\n'
  t.equal(await vtt.text(), text)
  t.equal((await fetch(`${subtitles}/3.vtt`, { headers: { 'If-None-Match': `"${torrent.infohash}-3-vtt"` } })).status, 304)
  t.equal((await fetch(`${subtitles}/3.vtt`, { method: 'HEAD' })).headers.get('content-length'), String(text.length))
  t.equal((await fetch(`${subtitles}/3`, { headers: { Range: 'bytes=0-3' } })).status, 206)
  t.equal((await fetch(`${subtitles}/3.vtt`, { method: 'OPTIONS', headers: { Origin: 'https://example.org' } })).status, 204)

  t.match((await fetch(`${subtitles}/1`)).headers.get('content-type'), 'windows-1255', 'Hebrew in the encoding of Windows')
  t.match(String(await bytesFrom(`${subtitles}/1.vtt`)), 'שלום עולם')
})

t.test('what is no subtitle file is 404 with the reason, and nothing of it is downloaded', async (t) => {
  const torrent = await seasonPack()
  const { url, mirror } = await serve(t, torrent)
  const subtitles = `${url}/api/torrents/${torrent.infohash}/subtitles`
  for (const [path, message] of [
    ['/0', /no subtitle file/], ['/0.vtt', /no subtitle file/], ['/4', /10000001 bytes/], ['/9', /files 0 to 4/], ['/9.vtt', /files 0 to 4/]
  ] as const) {
    const { status, body } = await jsonFrom(`${subtitles}${path}`)
    t.equal(status, 404, path)
    t.match(body, { error: 'Stream not found', reasons: [{ code: 'FILE_INDEX', message }] }, path)
  }
  t.match(await jsonFrom(`${url}/api/torrents/nonexistent/subtitles`), { status: 404, body: { reasons: [{ code: 'INFOHASH_INVALID' }] } })
  t.equal((await jsonFrom(`${subtitles}/x`)).status, 404)
  t.equal((await jsonFrom(`${subtitles}/3.srt`)).status, 404)
  t.notOk(mirror.requests.some((request) => request.startsWith('/by-index')), 'nothing was downloaded')
})

t.test('without metadata anywhere it is the fixed 404', async (t) => {
  const { url } = await startApp(t, { ENABLE_HTTP_FALLBACK: 'true' })
  t.match(await jsonFrom(`${url}/api/torrents/dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c/subtitles`), { status: 404, body: { error: 'Stream not found', reasons: [{ source: 'http-fallback', code: 'METADATA_NOT_FOUND' }] } })
})

t.test('a file in the cache of which no metadata is known has no subtitles that anybody knew of', async (t) => {
  const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
  const { url, directory } = await startApp(t, { CACHE_ONLY_MODE: 'true' })
  await mkdir(directory, { recursive: true })
  await writeFile(join(directory, `${infohash}.mp4`), testBytes(1_100_000, 'film'))
  t.same(await jsonFrom(`${url}/api/torrents/${infohash}/subtitles`).then(({ status, body }) => ({ status, body })), { status: 200, body: { success: true, data: [] } })
})

t.test('links begin with the address that the client used, or BASE_URL', async (t) => {
  const torrent = await seasonPack()
  const { url } = await serve(t, torrent)
  const path = `/api/torrents/${torrent.infohash}/subtitles`
  const first = async (app: string, headers: Record<string, string> = {}): Promise<string> => (await jsonFrom(`${app}${path}`, { headers })).body.data[0].url
  t.equal(await first(url, { 'X-Forwarded-Host': 'evil.example', 'X-Forwarded-Proto': 'https' }), `${url}${path}/1`, 'nobody said to believe proxies')
  const based = await serve(t, torrent, { BASE_URL: 'https://films.example/streme/' })
  t.equal(await first(based.url), `https://films.example/streme${path}/1`)
  const proxied = await serve(t, torrent, { TRUST_PROXY: '1' })
  t.equal(await first(proxied.url, { 'X-Forwarded-Host': 'films.example', 'X-Forwarded-Proto': 'https' }), `https://films.example${path}/1`)
})
