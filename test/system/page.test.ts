import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { chromium, type Page } from 'playwright-core'
import t, { type Test } from 'tap'

const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium'
// Without Chromium (Debian: chromium) these fail, unless whoever runs them asks to leave out what is missing.
const skip = existsSync(executablePath) || process.env.SELF_STREME_SKIP_MISSING !== '1' ? false : 'missing: Chromium (Debian: chromium)'
const mock = readFileSync(new URL('../../assets/mock.mp4', import.meta.url))
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const otherHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const types = new Map([['html', 'text/html'], ['js', 'text/javascript'], ['css', 'text/css'], ['svg', 'image/svg+xml']])

interface Torrent {
  infoHash: string
  [fact: string]: unknown
}

/** The API's answers without the server behind them, under a path prefix that the API knows nothing of, as behind a proxy. */
async function serve (t: Test) {
  const torrents = new Map<string, Torrent>()
  const requests: string[] = []
  const posted: unknown[] = []
  const json = (response: ServerResponse, body: unknown, status = 200): void => {
    response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
  }

  async function answer (request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url ?? '', 'http://x')
    if (!url.pathname.startsWith('/prefix/')) return json(response, { error: 'outside of the prefix' }, 404)
    const path = url.pathname.slice('/prefix'.length)
    requests.push(`${request.method} ${path}${url.search}`)
    const [, infoHash] = /^\/api\/torrents\/(.+)$/.exec(path) ?? []

    if (path === '/api/torrents' && request.method === 'POST') {
      const body = JSON.parse(Buffer.concat(await request.toArray()).toString())
      posted.push(body)
      const hash = /[0-9a-f]{40}/.exec(body.magnetUri ?? body.infoHash)?.[0]
      if (hash === undefined) return json(response, { error: 'Bad request', message: 'not an infohash' }, 400)
      const torrent = torrents.get(hash) ?? { infoHash: hash, status: 'metadata', progress: 0, streamUrl: `/stream/proxy/${hash}` }
      torrents.set(hash, torrent)
      return json(response, { success: true, data: torrent }, 202)
    }
    if (path === '/api/torrents') return json(response, { success: true, data: [...torrents.values()] })
    if (infoHash !== undefined) {
      const torrent = torrents.get(infoHash)
      if (torrent === undefined) return json(response, { error: 'Torrent not found', infoHash }, 404)
      if (request.method === 'DELETE') torrents.delete(infoHash)
      return json(response, { success: true, data: torrent })
    }
    if (path === `/stream/proxy/${mockHash}`) {
      const [, start = '0', end] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
      const last = end === undefined || end === '' ? mock.length - 1 : Number(end)
      response.writeHead(206, { 'Content-Type': 'video/mp4', 'Accept-Ranges': 'bytes', 'Content-Range': `bytes ${start}-${last}/${mock.length}` })
      return response.end(mock.subarray(Number(start), last + 1))
    }
    if (path.startsWith('/stream/proxy/')) {
      return json(response, { error: 'Stream not found', message: 'Unable to stream this content.', reasons: [{ source: 'p2p', code: 'P2P_TIMEOUT', message: 'no peer' }] }, 404)
    }
    const name = path === '/' || path === '/test-torrent-streaming' ? 'index.html' : path.replace(/^\/assets\//, '')
    const file = new URL(`../../public/${name}`, import.meta.url)
    if (!existsSync(file)) return json(response, { error: 'Not found' }, 404)
    response.writeHead(200, {
      'Content-Type': `${types.get(name.split('.').at(-1) ?? '') ?? ''}; charset=utf-8`,
      'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'"
    }).end(readFileSync(file))
  }

  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => json(response, { error: String(error) }, 500))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close().closeAllConnections() })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { origin: `http://127.0.0.1:${address.port}/prefix`, torrents, requests, posted }
}

async function open (t: Test, url: string): Promise<{ page: Page, complaints: string[] }> {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--autoplay-policy=no-user-gesture-required'] })
  t.teardown(async () => { await browser.close() })
  const page = await browser.newPage({ viewport: { width: 390, height: 844 } })
  const complaints: string[] = []
  page.on('pageerror', error => complaints.push(error.message))
  page.on('console', message => { if (message.type() === 'error' && !message.text().includes('404') && !message.text().includes('400')) complaints.push(message.text()) })
  page.on('dialog', dialog => { dialog.accept().catch(() => {}) })
  page.setDefaultTimeout(20_000)
  await page.goto(url)
  return { page, complaints }
}

async function hasPlayed (page: Page, seconds: number): Promise<void> {
  await page.locator('video').evaluate(async (video, seconds) => {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const look = (): void => { if (video.currentTime > seconds) resolve() }
    video.addEventListener('timeupdate', look)
    video.addEventListener('error', () => { reject(new Error(`the video failed: ${video.error?.message}`)) })
    look()
    await promise
  }, seconds)
}

t.test('a magnet is pasted, its torrent is followed to the end, and plays', { skip }, async t => {
  const { origin, torrents, posted } = await serve(t)
  const { page, complaints } = await open(t, `${origin}/test-torrent-streaming`)
  await page.getByText('None yet.').waitFor()

  const magnet = `magnet:?xt=urn:btih:${mockHash}&dn=Mock`
  await page.getByLabel('Magnet link or infohash').fill(`  ${magnet} `)
  await page.getByRole('button', { name: 'Add Torrent', exact: true }).click()
  await page.getByText('Looking for the list of files').waitFor()
  t.same(posted, [{ magnetUri: magnet }])
  t.equal(await page.getByText('None yet.').isVisible(), false)

  const name = '<img src=x onerror=alert(1)> סרט.mp4'
  const files = [
    { index: 0, name: 'a.srt', path: 'a.srt', length: 100, isVideo: false, streamUrl: `/stream/proxy/${mockHash}?fileIndex=0` },
    { index: 1, name, path: `folder/${name}`, length: mock.length, isVideo: true, streamUrl: `/stream/proxy/${mockHash}?fileIndex=1` }
  ]
  torrents.set(mockHash, {
    infoHash: mockHash,
    name,
    status: 'downloading',
    progress: 0.153,
    downloaded: 320_000,
    length: mock.length,
    downloadSpeed: 250_000,
    peers: 3,
    source: 'p2p',
    reason: 'p2p: 12 peers known, 3 connected',
    files,
    streamUrl: `/stream/proxy/${mockHash}`
  })
  await page.getByRole('heading', { name }).waitFor()
  await page.getByText('Downloading · 15.3 % of 2.1 MB · 250 kB/s · 1 min left · peers: 3 · from p2p').waitFor()
  await page.getByText('p2p: 12 peers known, 3 connected').waitFor()
  t.equal(await page.locator('progress').evaluate(bar => bar.value), 0.153)

  torrents.set(mockHash, { ...torrents.get(mockHash), infoHash: mockHash, status: 'cached', progress: 1, downloaded: mock.length, reason: null })
  await page.getByText('Complete · 2.1 MB').waitFor()

  await page.getByText('Files: 2').click()
  t.equal(await page.getByRole('link', { name: 'Get' }).getAttribute('href'), `${origin}/stream/proxy/${mockHash}?fileIndex=0&download=true`)
  await page.locator('.files').getByRole('button', { name: 'Play' }).click()
  await hasPlayed(page, 0.2)
  t.equal(await page.locator('video').getAttribute('src'), `${origin}/stream/proxy/${mockHash}?fileIndex=1`)
  t.equal(await page.locator('#trouble').textContent(), '')
  t.equal(await page.locator('html').evaluate(html => html.scrollWidth <= html.clientWidth), true, 'nothing sticks out on a phone')
  t.same(complaints, [], 'the browser and the content security policy complain of nothing')
})

t.test('an example is one click away, and the mock plays', { skip }, async t => {
  const { origin, posted } = await serve(t)
  const { page, complaints } = await open(t, `${origin}/`)
  await page.getByRole('button', { name: 'Mock: plays without a network' }).click()
  await page.getByText('Added').waitFor()
  t.same(posted, [{ infoHash: mockHash }])
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await hasPlayed(page, 0.2)

  await page.getByRole('button', { name: 'Big Buck Bunny' }).click()
  await page.locator('.card').nth(1).waitFor()
  t.match(posted[1], { magnetUri: new RegExp(`^magnet:\\?xt=urn:btih:${otherHash}&dn=Big%20Buck%20Bunny&tr=.*&ws=https%3A%2F%2Fwebtorrent.io%2Ftorrents%2F&xs=https%3A%2F%2Fwebtorrent.io%2Ftorrents%2Fbig-buck-bunny.torrent$`) })
  t.match(await page.locator('.card').first().textContent(), otherHash, 'the newest is on top')
  t.same(complaints, [])
})

t.test('what was added before is listed, and can be deleted while it plays', { skip }, async t => {
  const { origin, torrents, requests } = await serve(t)
  torrents.set(mockHash, { infoHash: mockHash, name: 'Old one', status: 'cached', progress: 1, streamUrl: `/stream/proxy/${mockHash}` })
  const { page, complaints } = await open(t, `${origin}/`)
  await page.getByRole('heading', { name: 'Old one' }).waitFor()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await hasPlayed(page, 0)
  await page.getByRole('button', { name: 'Delete' }).click()
  await page.getByText('None yet.').waitFor()
  t.equal(await page.locator('video').isVisible(), false)
  t.ok(requests.includes(`DELETE /api/torrents/${mockHash}?deleteFiles=true`))
  t.same(complaints, [])
})

t.test('what cannot be added or played says why', { skip }, async t => {
  const { origin, torrents } = await serve(t)
  torrents.set(otherHash, { infoHash: otherHash, name: 'Dead', status: 'idle', progress: 0, streamUrl: `/stream/proxy/${otherHash}` })
  const { page } = await open(t, `${origin}/`)
  await page.getByLabel('Magnet link or infohash').fill('rubbish')
  await page.getByRole('button', { name: 'Add Torrent' }).click()
  await page.getByText('Bad request: not an infohash').waitFor()
  t.equal(await page.getByLabel('Magnet link or infohash').inputValue(), 'rubbish', 'and leaves it there to be corrected')

  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await page.getByText('Unable to stream this content. · p2p: no peer').waitFor()
})
