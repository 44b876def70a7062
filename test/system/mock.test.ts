import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { chromium } from 'playwright-core'
import t from 'tap'

import { openMockVideo } from '../../services/mock/mock-video.ts'
import type { Test } from 'tap'

const run = promisify(execFile)
const path = fileURLToPath(new URL('../../assets/mock.mp4', import.meta.url))

t.test('ffprobe reads H.264 and AAC, about as long as each other, and complains of nothing', async t => {
  const { stdout, stderr } = await run('ffprobe', ['-v', 'warning', '-of', 'json', '-show_streams', '-show_format', path])
  t.equal(stderr, '')
  const { streams, format } = JSON.parse(stdout)
  t.match(streams, [
    { codec_type: 'video', codec_name: 'h264', pix_fmt: 'yuv420p', width: 640, height: 360 },
    { codec_type: 'audio', codec_name: 'aac', channels: 2 }
  ])
  t.match(format, { size: '2097152', tags: { title: /not a real torrent/ } })
  for (const { duration } of streams) t.equal(Number(duration), 24)
})

t.test('each frame decodes', async t => {
  const { stdout, stderr } = await run('ffmpeg', ['-v', 'warning', '-nostdin', '-xerror', '-i', path, '-f', 'framecrc', '-'])
  t.equal(stderr, '')
  const frames = stdout.split('\n').filter(line => line.startsWith('0,')).length
  t.equal(frames, 24 * 24)
})

t.test('there is a key frame each second', async t => {
  const { stdout } = await run('ffprobe', ['-v', 'error', '-select_streams', 'v', '-skip_frame', 'nokey', '-show_entries', 'frame=pts_time', '-of', 'json', path])
  t.match(JSON.parse(stdout).frames, Array.from({ length: 24 }, (_, second) => ({ pts_time: `${second}.000000` })))
})

t.test('Chromium plays it, and seeks', { timeout: 60_000 }, async t => {
  const url = await serve(t)
  const browser = await chromium.launch({
    executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--autoplay-policy=no-user-gesture-required']
  })
  t.teardown(async () => { await browser.close() })
  const page = await browser.newPage()
  await page.goto(url)
  // In the page's own words: it has a DOM that the types of this program know nothing of.
  await page.waitForFunction('document.querySelector("video").currentTime > 1')
  t.match(await page.evaluate('(({ duration, videoWidth, videoHeight, error }) => ({ duration, videoWidth, videoHeight, error }))(document.querySelector("video"))'), {
    duration: 24, videoWidth: 640, videoHeight: 360, error: null
  })
  await page.evaluate('document.querySelector("video").currentTime = 20')
  await page.waitForFunction('(({ currentTime, seeking }) => !seeking && currentTime > 20.5)(document.querySelector("video"))')
  const decoded = await page.evaluate('document.querySelector("video").getVideoPlaybackQuality().totalVideoFrames')
  t.ok(Number(decoded) > 24, `${decoded} frames were decoded`)
  await page.waitForFunction('document.querySelector("video").ended')
})

/** A page with the video, and the video by ranges, from a server of this test's own. */
async function serve (t: Test): Promise<string> {
  const file = await openMockVideo(null)
  const server = createServer((request, response) => {
    if (request.url !== '/mock.mp4') {
      response.setHeader('Content-Type', 'text/html')
      response.end('<video src="/mock.mp4" autoplay muted></video>')
      return
    }
    const [, first = '0', last = ''] = /bytes=(\d+)-(\d*)/.exec(request.headers.range ?? '') ?? []
    const start = Number(first)
    const end = last === '' ? file.lengthBytes - 1 : Number(last)
    response.writeHead(206, { 'Content-Type': 'video/mp4', 'Content-Length': end - start + 1, 'Content-Range': `bytes ${start}-${end}/${file.lengthBytes}`, 'Accept-Ranges': 'bytes' })
    const gone = new AbortController()
    response.on('close', () => { gone.abort() })
    // A browser hangs up when it seeks.
    pipeline(file.read({ start, end }, gone.signal), response).catch(() => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.close()
    server.closeAllConnections()
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return `http://127.0.0.1:${address.port}/`
}
