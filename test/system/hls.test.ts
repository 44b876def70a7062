import { readdir, readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import t from 'tap'
import { becomesTrue, hasPlayed, openPage } from '../browser.ts'
import { abortable } from '../../services/deadline.ts'
import { CodedError } from '../../services/errors.ts'
import { Ffmpeg } from '../../services/hls/ffmpeg.ts'
import { Hls } from '../../services/hls/hls.ts'
import { silent } from '../../services/log.ts'
import { Probe } from '../../services/media/probe.ts'
import { makeFilm, media } from '../film.ts'
import { jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { startMirror } from '../mirror.ts'
import { startSwitchableMirror } from '../switchable-mirror.ts'
import { makeTorrent, missing, startSeeder, startTracker, testWith, until } from '../testnet.ts'
import type { Open } from '../../services/hls/hls.ts'
import type { Rendition } from '../../services/hls/renditions.ts'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'

const abilities = 'videoCodecs=h264&videoCodecs=vp9&audioCodecs=aac&audioCodecs=mp3&maxAudioChannels=2'

/** A server with a torrent of these files, and the addresses that a player makes of them. */
async function serve (t: Test, files: Record<string, Buffer>, env: Record<string, string> = {}) {
  const torrent = await makeTorrent(files, { name: 'Films', pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { app, url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, ...env })
  if (app.hls === null) throw missing('ffmpeg')
  const stream = (index: number) => `mediaURL=${encodeURIComponent(`${url}/${torrent.infohash}/${index}`)}`
  return { app, url, master: (index: number, id = 'one') => `${url}/hlsv2/${id}/master.m3u8?${stream(index)}&${abilities}`, probe: (index: number) => `${url}/hlsv2/probe?${stream(index)}` }
}

/** A page of another origin with hls.js, as a web player has it, that plays this. */
async function play (t: Test, master: string): Promise<Page> {
  const script = await readFile(fileURLToPath(import.meta.resolve('hls.js/dist/hls.min.js'))).catch(() => null)
  if (script === null) throw new Error('hls.js is missing: npm ci')
  const web = await listenOnLoopback(t, createServer((request, response) => {
    if (request.url === '/hls.js') response.writeHead(200, { 'Content-Type': 'text/javascript' }).end(script)
    else response.writeHead(200, { 'Content-Type': 'text/html' }).end('<!doctype html><link rel=icon href=data:,><script src="/hls.js"></script><video muted></video>')
  }))
  const { page } = await openPage(t, web)
  await page.evaluate(`{
    window.fatal = []
    window.stalls = 0
    window.holes = 0
    const video = document.querySelector('video')
    video.onerror = () => fatal.push(video.error.message)
    window.hls = new Hls({ maxBufferLength: 10, maxBufferHole: 0, maxFragLookUpTolerance: 0, backBufferLength: 30 })
    hls.on(Hls.Events.ERROR, (_event, { fatal: isFatal, details, reason }) => {
      if (isFatal) fatal.push(details + ' ' + reason)
      if (details === 'bufferStalledError') stalls++
      if (details === 'bufferSeekOverHole') holes++
    })
    hls.on(Hls.Events.MANIFEST_PARSED, () => { video.play() })
    hls.loadSource(${JSON.stringify(master)})
    hls.attachMedia(video)
  }`)
  return page
}

async function hashesOf (input: string): Promise<string[]> {
  return (await media('ffmpeg', ['-i', input, '-map', '0:v:0', '-f', 'framemd5', '-'])).split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.split(',').at(-1)?.trim() ?? '')
}

/** The longest silence between two packets of sound, and their number and end. */
async function soundOf (input: string, index: number): Promise<{ gap: number, seconds: number }> {
  const lines = (await media('ffprobe', ['-select_streams', `a:${index}`, '-show_entries', 'packet=pts_time,duration_time', '-of', 'csv=p=0', input])).split('\n').filter((line) => line !== '')
  const packets = lines.map((line) => line.split(',').map(Number)).map(([start = NaN, length = NaN]) => ({ start, end: start + length }))
  const gaps = packets.slice(1).map(({ start }, at) => Math.abs(start - (packets[at]?.end ?? NaN)))
  return { gap: Math.max(...gaps), seconds: (packets.at(-1)?.end ?? NaN) - (packets[0]?.start ?? NaN) }
}

/** The processes of this name that the server has. */
async function children (name: string): Promise<number> {
  const found = await Promise.all((await readdir('/proc')).filter((each) => /^\d+$/.test(each)).map(async (pid) => {
    const stat = await readFile(join('/proc', pid, 'stat'), 'latin1').catch(() => '')
    const [, command, state, parent] = /^\d+ \((.*)\) (\S) (\d+)/.exec(stat) ?? []
    return command === name && state !== 'Z' && Number(parent) === process.pid
  }))
  return found.filter(Boolean).length
}

testWith(t, 'players: an mkv is told of, and comes as HLS with every frame of its own, once, and no gap in either sound', async (t) => {
  const film = await makeFilm(t, { name: 'film.mkv', seconds: 40, hasMore: true })
  const { url, master, probe } = await serve(t, { 'film.mkv': film.bytes })
  const { status, body } = await jsonFrom(probe(0))
  t.equal(status, 200)
  t.match(body, {
    format: { name: 'matroska,webm' },
    streams: [
      { id: 0, index: 0, track: 'video', codec: 'h264', width: 320, height: 180, frameRate: 24 },
      { track: 'audio', codec: 'aac', channels: 1, language: 'eng' },
      { track: 'audio', codec: 'aac', channels: 1, language: 'heb', title: 'Dubbed' },
      { track: 'subtitle', codec: 'subrip', language: 'eng' }
    ],
    samples: {}
  })
  t.equal(Math.round(body.format.duration), 40)
  const text = await (await fetch(master(0))).text()
  t.match(text, /#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="eng",DEFAULT=YES.*URI="audio1-copy\.m3u8\?/)
  t.match(text, /#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Dubbed",LANGUAGE="heb",DEFAULT=NO/)
  t.match(text, /#EXT-X-STREAM-INF:BANDWIDTH=\d+,CODECS="avc1\.[0-9a-f]{6},mp4a\.40\.2",RESOLUTION=320x180/)
  t.same(await hashesOf(master(0)), await hashesOf(film.path), 'the frames of all segments are those of the file')
  for (const index of [0, 1]) {
    const { gap, seconds } = await soundOf(master(0), index)
    t.ok(gap < 0.002, `sound ${index}: no gap of ${gap} s`)
    t.ok(Math.abs(seconds - 40) < 0.05, `sound ${index} has ${seconds} s`)
  }
  const vtt = await (await fetch(`${url}/hlsv2/one/subtitle3/2.vtt${new URL(master(0)).search}`)).text()
  t.match(vtt, /^WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00\.000\n\n00:00:30\.5\d\d --> 00:00:38\.0\d\d\nLast words\n/)
  t.notMatch(vtt, 'First')
})

testWith(t, 'people: a web player plays an mkv, changes the sound, seeks to 80 %, and plays on when the seeder dies in the middle of a segment', async (t) => {
  const tracker = await startTracker(t)
  const { bytes } = await makeFilm(t, { name: 'film.mkv', seconds: 120, hasMore: true })
  const torrent = await makeTorrent({ 'film.mkv': bytes }, { pieceLength: 65_536, trackers: [tracker.url] })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 400_000 })
  const mirror = await startSwitchableMirror(t, torrent)
  const { app, url } = await startApp(t, { ENABLE_P2P: 'true', TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, TRACKERS: tracker.url, SOURCE_HEDGE_DELAY: '0', STALL_TIMEOUT: '1500' })
  if (app.hls === null) throw missing('ffmpeg')
  const page = await play(t, `${url}/hlsv2/one/master.m3u8?mediaURL=${encodeURIComponent(`${url}/${torrent.infohash}/0`)}&${abilities}`)
  await hasPlayed(page, 2)
  t.equal(await page.evaluate('Math.round(document.querySelector("video").duration)'), 120)
  t.same(await page.evaluate('hls.audioTracks.map(({ name, lang }) => [name, lang])'), [['English', 'eng'], ['Dubbed', 'heb']])
  await page.evaluate('hls.audioTrack = 1')
  await hasPlayed(page, 4)
  await page.evaluate('document.querySelector("video").currentTime = 96')
  await hasPlayed(page, 97)
  t.equal(mirror.sentBytes(), 0, 'all of it came from the swarm')
  await page.evaluate('document.querySelector("video").currentTime = 50')
  await until('a segment is being made', async () => await children('ffmpeg') > 0)
  await seeder.stop()
  t.equal(mirror.sentBytes(), 0, 'and nothing came from elsewhere yet')
  await hasPlayed(page, 54)
  t.ok(mirror.sentBytes() > 0, 'it plays on from the mirror')
  t.same(await page.evaluate('fatal'), [])
  t.equal(await page.evaluate('holes'), 0, 'no gap had to be jumped over')
  t.comment(`stalls: ${String(await page.evaluate('stalls'))}`)
})

testWith(t, 'people: a web player plays what has to be transcoded, and shows its subtitles', async (t) => {
  const avi = await makeFilm(t, { name: 'old.avi', seconds: 20, codecs: ['-c:v', 'mpeg4', '-c:a', 'ac3'] })
  const hevc = await makeFilm(t, { name: 'new.mkv', seconds: 40, hasMore: true, codecs: ['-c:v', 'libx265', '-preset', 'ultrafast', '-x265-params', 'log-level=none', '-c:a', 'ac3'] })
  const ts = await makeFilm(t, { name: 'broadcast.ts', seconds: 20, codecs: ['-c:v', 'libx264', '-preset', 'ultrafast', '-c:a', 'aac', '-output_ts_offset', '26000'] })
  const { master } = await serve(t, { 'broadcast.ts': ts.bytes, 'new.mkv': hevc.bytes, 'old.avi': avi.bytes })
  for (const [index, seconds] of [[0, 20], [2, 20], [1, 40]] as const) {
    const page = await play(t, master(index))
    await hasPlayed(page, 1)
    t.equal(await page.evaluate('Math.round(document.querySelector("video").duration)'), seconds)
    await page.evaluate(`document.querySelector("video").currentTime = ${seconds * 0.8}`)
    await hasPlayed(page, seconds * 0.8 + 1)
    t.same(await page.evaluate('fatal'), [])
    if (index === 1) {
      await page.evaluate('hls.subtitleTrack = 0; hls.subtitleDisplay = true')
      await becomesTrue(page, '[...document.querySelector("video").textTracks].some(({ activeCues }) => activeCues?.[0]?.text === "Last words")')
    }
    await page.close()
  }
  t.equal((await hashesOf(master(1))).length, 960, 'every frame is there')
  for (const index of [0, 1, 2]) t.ok((await soundOf(master(index), 0)).gap < 0.002)
})

testWith(t, 'a film that is a playlist, or names another file, makes nobody fetch', async (t) => {
  const asked: string[] = []
  const trap = await listenOnLoopback(t, createServer((request, response) => {
    asked.push(request.url ?? '')
    response.end()
  }))
  const { bytes } = await makeFilm(t, { name: 'film.mp4', seconds: 2 })
  // Its data is elsewhere, it says (ISO/IEC 14496-12 section 8.7.2).
  const reference = bytes.indexOf('url \0\0\0\x01', 0, 'latin1')
  const elsewhere = Buffer.from(bytes)
  elsewhere.writeUInt32BE(0, reference + 4)
  const { url, master, probe } = await serve(t, {
    'Concat.mkv': Buffer.from(`ffconcat version 1.0\nfile '${trap}/film.mkv'\n`.padEnd(600, '\n')),
    'Elsewhere.mp4': elsewhere,
    'Movie.mp4': Buffer.from(`#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n${trap}/segment.ts\n#EXT-X-ENDLIST\n`.padEnd(600, '\n')),
    'Stream.ts': Buffer.from(`v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video ${new URL(trap).port} RTP/AVP 33\n`.padEnd(600, '\n'))
  }, { API_TOKEN: 'a-token-of-some-length' })
  for (const index of [0, 2, 3]) {
    t.equal((await fetch(probe(index))).status, 404)
    t.equal((await fetch(master(index))).status, 404)
    t.equal((await fetch(master(index).replace('master.m3u8', 'video0-copy/0.m4s'))).status, 404)
  }
  await (await fetch(probe(1))).arrayBuffer()
  await (await fetch(master(1).replace('master.m3u8', 'video0-copy/0.m4s'))).arrayBuffer()
  t.equal((await fetch(`${url}/hlsv2/probe?mediaURL=${encodeURIComponent(`${trap}/film.mkv`)}`)).status, 401, 'nothing elsewhere is read for strangers')
  t.same(asked, [])
})

testWith(t, 'a film elsewhere is read for its owner by ranges, and one that has none is not there', async (t) => {
  const film = await makeFilm(t, { name: 'film.mkv', seconds: 8 })
  const torrent = await makeTorrent({ 'film.mkv': film.bytes })
  const mirror = await startMirror(t, torrent)
  const plain = await listenOnLoopback(t, createServer((_request, response) => { response.end(film.bytes) }))
  const { url, app } = await startApp(t)
  if (app.hls === null) throw missing('ffmpeg')
  const master = (media: string) => `${url}/hlsv2/one/master.m3u8?mediaURL=${encodeURIComponent(media)}&${abilities}`
  t.same(await hashesOf(master(`${mirror.webSeed}film.mkv`)), await hashesOf(film.path))
  t.equal((await fetch(master(`${plain}/film.mkv`))).status, 404)
  t.equal((await fetch(master(`${plain}/film.mkv`), { headers: { origin: 'https://evil.example', 'sec-fetch-site': 'cross-site' } })).status, 403, 'not for pages of others')
})

testWith(t, 'a segment whose source dies is made once more from the file opened anew, and one that nobody delivers is given up', async (t) => {
  const { bytes } = await makeFilm(t, { name: 'film.mkv', seconds: 30 })
  const ffmpeg = await Ffmpeg.open({ processes: 2, maxOutputBytes: 10_000_000, silenceLimitMs: 1500 })
  const probe = await Probe.open()
  if (ffmpeg === null || probe === null) throw missing('ffmpeg')
  const hls = new Hls({ ffmpeg, probe, log: silent })
  t.teardown(async () => { await hls.close(); await probe.close() })
  const behaviours: Array<'dies' | 'hangs'> = []
  const open: Open = async () => {
    const behaviour = behaviours.shift() ?? null
    return {
      source: 'test',
      name: 'film.mkv',
      lengthBytes: bytes.length,
      etag: '"film"',
      lastModified: null,
      isVerified: true,
      isLocal: false,
      async * read ({ start, end }, signal) {
        if (behaviour === 'hangs') await abortable(new Promise<never>(() => {}), signal)
        // What is in the middle of the file.
        const until = behaviour === 'dies' ? Math.min(end + 1, Math.max(start, 300_000)) : end + 1
        for (let at = start; at < until; at += 10_000) yield bytes.subarray(at, Math.min(until, at + 10_000))
        if (until <= end) throw new CodedError('STALLED', 'the source died')
      }
    }
  }
  const rendition: Rendition = { kind: 'video', track: 0, maxWidth: 'copy' }
  const { signal } = new AbortController()
  const make = async (): Promise<Buffer | undefined> => await (await hls.segment(open, rendition, 1, signal))?.make(signal)
  const whole = await make()
  t.ok(whole !== undefined && whole.length > 100_000)
  behaviours.push('dies')
  t.same(await make(), whole, 'made once more')
  t.equal(behaviours.length, 0)
  behaviours.push('dies', 'dies')
  await t.rejects(make(), { code: 'STALLED' })
  behaviours.push('hangs', 'hangs')
  await t.rejects(make(), { code: 'SOURCE_TIMEOUT' })
  t.equal(hls.running, 0)
  t.equal(await hls.segment(open, rendition, 99, signal), null)
})

testWith(t, 'H.264 that a player cannot begin in the middle of is transcoded', async (t) => {
  const closed = await makeFilm(t, { name: 'closed.mkv', seconds: 20 })
  const opened = await makeFilm(t, { name: 'open.mkv', seconds: 20, codecs: ['-c:v', 'libx264', '-preset', 'veryfast', '-x264-params', 'open-gop=1:keyint=48:bframes=3', '-c:a', 'aac'] })
  const { master } = await serve(t, { 'closed.mkv': closed.bytes, 'open.mkv': opened.bytes })
  t.match(await (await fetch(master(0))).text(), 'video0-copy.m3u8')
  t.match(await (await fetch(master(1))).text(), 'video0-h264-1920.m3u8')
})

testWith(t, 'processes are as many as there may be, and none is left when clients go, playbacks end, or the server stops', async (t) => {
  const film = await makeFilm(t, { name: 'film.mkv', seconds: 120 })
  const { app, url, master } = await serve(t, { 'film.mkv': film.bytes })
  await (await fetch(master(0))).text()
  const segment = (index: number, id = 'one') => master(0, id).replace('master.m3u8', `video0-h264-1920/${index}.m4s`)
  await fetch(master(0).replace('master.m3u8', 'video0-h264-1920/init.mp4'))
  let most = 0
  const look = setInterval(() => { children('ffmpeg').then((count) => { most = Math.max(most, count) }, () => {}) }, 20)
  t.teardown(() => { clearInterval(look) })
  const statuses = await Promise.all(Array.from({ length: 30 }, async (_, index) => {
    // A third of them takes long.
    const answer = await fetch(index % 3 === 0 ? segment(index) : segment(index % 19).replace('video0-h264-1920', 'audio1-aac-1'))
    await answer.arrayBuffer()
    return answer.status
  }))
  t.same(new Set(statuses), new Set([200]))
  t.ok(most > 0 && most <= Math.max(2, availableParallelism()), `${most} at a time`)
  await until('none is left', async () => await children('ffmpeg') === 0)

  const leaving = new AbortController()
  const left = Array.from({ length: 6 }, async (_, index) => await fetch(segment(index), { signal: leaving.signal }))
  await until('they run', async () => await children('ffmpeg') > 0)
  leaving.abort()
  await Promise.allSettled(left)
  await until('none is left', async () => await children('ffmpeg') === 0)

  const ending = Array.from({ length: 6 }, async (_, index) => (await fetch(segment(index, 'two'))).status)
  await until('they run', async () => await children('ffmpeg') > 0)
  t.same(await (await fetch(`${url}/hlsv2/two/destroy`)).json(), { success: true })
  t.ok((await Promise.all(ending)).includes(502))
  await until('none is left', async () => await children('ffmpeg') === 0)

  const last = Array.from({ length: 6 }, async (_, index) => await fetch(segment(index)))
  await until('they run', async () => await children('ffmpeg') > 0)
  await app.close()
  await Promise.allSettled(last)
  t.equal(await children('ffmpeg'), 0)
})
