import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { hasPlayed, openPage } from '../browser.ts'
import { startApp } from '../helper.ts'
import { makeTorrent, startSeeder, startTracker, testBytes, testWith, until } from '../testnet.ts'

const run = promisify(execFile)
const film = join(import.meta.dirname, '..', '..', 'assets', 'mock.mp4')

testWith(t, 'people: a magnet is pasted into the page, its torrent comes from a libtorrent seeder, plays and seeks in Chromium', async (t) => {
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'Test picture.mp4': await readFile(film), 'Test picture.srt': testBytes(2000, 'srt') }, { name: 'Test picture', trackers: [tracker.url] })
  await startSeeder(t, torrent, { uploadLimit: 1_000_000 })
  const { url } = await startApp(t, { ENABLE_P2P: 'true' })
  const { page } = await openPage(t, url)
  await page.getByLabel('Magnet link or infohash').fill(`magnet:?xt=urn:btih:${torrent.infohash}&dn=Picture&tr=${encodeURIComponent(tracker.url)}`)
  await page.getByRole('button', { name: 'Add Torrent', exact: true }).click()
  await page.getByRole('heading', { name: 'Test picture' }).waitFor()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await hasPlayed(page, 1)
  await page.evaluate('document.querySelector("video").currentTime = 20')
  await hasPlayed(page, 20.5)
  await page.getByText('Complete').waitFor()
})

testWith(t, 'players: ffprobe and ffmpeg read a torrent through the server as they read the file', async (t) => {
  const torrent = await makeTorrent({ 'Test picture.mp4': await readFile(film) })
  const { address } = await startSeeder(t, torrent)
  const { url } = await startApp(t, { ENABLE_P2P: 'true', STATIC_PEERS: address })
  const stream = `${url}/stream/proxy/${torrent.infohash}`
  const { stdout } = await run('ffprobe', ['-v', 'error', '-of', 'json', '-show_streams', '-show_format', stream])
  t.match(JSON.parse(stdout), { format: { size: '2097152' }, streams: [{ codec_name: 'h264' }, { codec_name: 'aac' }] })
  const frames = async (input: string): Promise<string> => (await run('ffmpeg', ['-v', 'error', '-nostdin', '-i', input, '-map', '0:v', '-f', 'framemd5', '-'])).stdout
  t.equal(await frames(stream), await frames(film), 'each frame is the same')
  t.equal((await run('curl', ['-s', '-r', '-100', stream], { encoding: 'latin1' })).stdout.length, 100)
})

testWith(t, 'a seeder that comes late is found', async (t) => {
  const tracker = await startTracker(t)
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(300_000, 'late') }, { trackers: [tracker.url] })
  const { url } = await startApp(t, { ENABLE_P2P: 'true', TRACKERS: tracker.url, P2P_TIMEOUT: '60000' })
  const answer = fetch(`${url}/stream/proxy/${torrent.infohash}`)
  await until('we have announced ourselves', () => tracker.peersOf(torrent.infohash).length > 0)
  await startSeeder(t, torrent)
  const response = await answer
  t.equal(response.status, 200)
  t.equal((await response.arrayBuffer()).byteLength, 300_000)
})
