import { execFile } from 'node:child_process'
import { createServer } from 'node:http'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { openPage } from '../browser.ts'
import { jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, missing, temporaryDirectory, testWith } from '../testnet.ts'
import type { Test } from 'tap'

const run = promisify(execFile)

/** A film of so many seconds, H.264 and AAC; in an mkv with a second sound and subtitles. */
async function makeFilm (t: Test, name: string, seconds: number): Promise<Buffer> {
  const directory = await temporaryDirectory(t)
  const path = join(directory, name)
  const more = name.endsWith('.mkv') ? ['-map', '0', '-map', '1', '-map', '1', '-metadata:s:a:0', 'language=eng', '-metadata:s:a:1', 'language=heb', '-metadata:s:a:1', 'title=Dubbed'] : ['-movflags', '+faststart']
  try {
    await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc=size=320x180:rate=10', '-f', 'lavfi', '-i', 'sine', '-t', String(seconds), '-pix_fmt', 'yuv420p', '-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac', ...more, path])
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'ENOENT' ? missing('ffmpeg') : error
  }
  return await readFile(path)
}

testWith(t, 'people: a web player on another page begins a season pack, finds the episode, asks for its type, plays and seeks', async (t) => {
  const torrent = await makeTorrent({ 'Show.S01E01.mp4': await makeFilm(t, '1.mp4', 4), 'Show.S01E02.mp4': await makeFilm(t, '2.mp4', 20) }, { name: 'Show', pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const web = await listenOnLoopback(t, createServer((_request, response) => { response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><link rel=icon href=data:,><video></video>') }))
  const { page } = await openPage(t, web)
  const found = await page.evaluate(`(async () => {
    const settings = await (await fetch('${url}/settings')).json()
    const created = await (await fetch('${url}/${torrent.infohash}/create', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ torrent: { infoHash: '${torrent.infohash}' }, peerSearch: { sources: ['dht:${torrent.infohash}'], min: 40, max: 200 }, guessFileIdx: { season: 1, episode: 2 } }) })).json()
    const address = '${url}/${torrent.infohash}/' + created.guessedFileIdx + '?tr=dht%3A${torrent.infohash}'
    const head = await fetch(address, { method: 'HEAD' })
    const video = document.querySelector('video')
    video.muted = true
    video.src = address
    await new Promise((resolve, reject) => { video.onloadedmetadata = resolve; video.onerror = () => reject(new Error(video.error.message)) })
    video.currentTime = 16
    await new Promise((resolve) => { video.onseeked = resolve })
    await video.play()
    await new Promise((resolve) => { video.ontimeupdate = () => { if (video.currentTime > 16.3) resolve() } })
    const stats = await (await fetch('${url}/${torrent.infohash}/' + created.guessedFileIdx + '/stats.json')).json()
    return { version: settings.values.serverVersion, index: created.guessedFileIdx, status: head.status, type: head.headers.get('content-type'), duration: Math.round(video.duration), name: stats.streamName }
  })()`)
  t.same(found, { version: '4.20.16', index: 1, status: 200, type: 'video/mp4', duration: 20, name: 'Show.S01E02.mp4' })
})

testWith(t, 'players: the tracks of a film are told, and a playlist that is named like a film makes nobody fetch', async (t) => {
  const asked: string[] = []
  const trap = await listenOnLoopback(t, createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end()
  }))
  const playlist = Buffer.from(`#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n${trap}/segment.ts\n#EXT-X-ENDLIST\n`)
  const torrent = await makeTorrent({ 'Film.mkv': await makeFilm(t, 'film.mkv', 3), 'Movie.mp4': playlist }, { name: 'Film' })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, API_TOKEN: 'a-token-of-some-length' })
  const tracksOf = async (index: number) => (await jsonFrom(`${url}/tracks/${encodeURIComponent(`${url}/${torrent.infohash}/${index}`)}`)).body
  t.match(await tracksOf(0), [{ '@type': 'Video', Format: 'h264' }, { '@type': 'Audio', Format: 'aac', Language: 'eng' }, { '@type': 'Audio', Format: 'aac', Language: 'heb', Title: 'Dubbed' }])
  t.same(await tracksOf(1), [])
  t.same(asked, [], 'nobody fetched what the playlist names')
  t.equal((await fetch(`${url}/tracks/${encodeURIComponent(`${trap}/film.mkv`)}`)).status, 401, 'nothing elsewhere is read for strangers')
})
