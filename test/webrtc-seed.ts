import { createServer } from 'node:http'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'

/**
 * Chromium with a page that seeds a file by WebTorrent, over WebRTC alone: `node webrtc-seed.ts ADDRESS FILE TRACKER STUN`
 * (STUN: `host:port`). It has no relay of its own. Prints the infohash, then `ready`. For tests that run it where the page is.
 */
const [address = '', path = '', tracker = '', stun = ''] = process.argv.slice(2)
const script = await readFile(createRequire(import.meta.url).resolve('webtorrent/dist/webtorrent.min.js'))
const film = await readFile(path)

const server = createServer((request, response) => {
  if (request.url === '/webtorrent.min.js') response.setHeader('Content-Type', 'text/javascript').end(script)
  else if (request.url === '/film') response.end(film)
  else response.setHeader('Content-Type', 'text/html').end('<!doctype html><title>A page that seeds</title>')
})
server.listen(80, address)
await once(server, 'listening')

const origin = `http://${address}`
const browser = await chromium.launch({
  executablePath: process.env['CHROMIUM'] ?? '/usr/bin/chromium',
  // WebCrypto, which WebTorrent hashes with, is there for secure origins only.
  args: ['--no-sandbox', `--unsafely-treat-insecure-origin-as-secure=${origin}`]
})
const page = await browser.newPage()
page.on('console', (message) => { process.stderr.write(`${message.text()}\n`) })
page.on('pageerror', (error) => { process.stderr.write(`${String(error)}\n`) })
await page.goto(origin)
const infohash: unknown = await page.evaluate(`(async () => {
  const { default: WebTorrent } = await import('/webtorrent.min.js')
  const film = await (await fetch('/film')).blob()
  const rtcConfig = { iceServers: [{ urls: ${JSON.stringify(`stun:${stun}`)} }] }
  const client = new WebTorrent({ tracker: { rtcConfig } })
  client.on('error', (error) => console.log('client: ' + error.message))
  window.torrent = await new Promise((resolve) => client.seed(new File([film], 'Film.mp4'), { announce: [${JSON.stringify(tracker)}] }, resolve))
  window.torrent.on('warning', (warning) => console.log('torrent: ' + (warning.message ?? warning)))
  return window.torrent.infoHash
})()`)
process.stdout.write(`${String(infohash)}\nready\n`)
process.stdin.resume().on('end', () => { void browser.close().then(() => { process.exit(0) }) })
