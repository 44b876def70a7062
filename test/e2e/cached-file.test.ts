import { once } from 'node:events'
import { open, rename, truncate, unlink, writeFile } from 'node:fs/promises'
import { request } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { IncomingMessage } from 'node:http'
import type { TestApp } from '../helper.ts'
import type { TestTorrent } from '../testnet.ts'
import type { Test } from 'tap'

const film = testBytes(16_000_000, 'film')
/** Other bytes, as many of them. */
const other = testBytes(16_000_000, 'another film')
/** The sockets between have taken more than the client has read: what is done is done well before the end. */
const firstPart = 1_000_000

const deeds: ReadonlyArray<readonly [what: string, deed: (path: string) => Promise<void>]> = [
  ['deleted', unlink],
  ['truncated', async (path) => { await truncate(path, film.length / 2) }],
  ['replaced by another of the same length', async (path) => {
    await writeFile(`${path}.new`, other)
    await rename(`${path}.new`, path)
  }],
  ['overwritten with as many other bytes', async (path) => { await overwrite(path, other) }],
  ['moved away with its folder', async (path) => { await rename(join(path, '..'), `${join(path, '..')}-moved`) }]
]

for (const [what, deed] of deeds) {
  t.test(`a cached file is ${what} during its stream -> the stream goes on from a mirror; without one every byte that comes is right, and no part is taken for the whole`, { timeout: 60_000 }, async (t) => {
    await Promise.all([true, false].flatMap((hasMirror) => [true, false].map(async (isOpen) => {
      const name = `${hasMirror ? 'with' : 'without'} a mirror, its torrent ${isOpen ? 'still open' : 'let go'}`
      const { torrent, path, server, answers } = await cached(t, isOpen, hasMirror)
      answers.isOn = hasMirror
      const url = `${server.url}/stream/proxy/${torrent.infohash}`
      const { bytes, error, status } = await readWith(url, async () => { await deed(path) })
      t.equal(status, 200)
      t.ok(film.subarray(0, bytes.length).equals(bytes), `${name}: ${bytes.length} bytes came, all of them right`)
      if (hasMirror) t.equal(bytes.length, film.length, `${name}: the whole film came (${error?.message})`)
      else t.ok(bytes.length === film.length || error !== null, `${name}: ${bytes.length} of ${film.length} bytes: ${error?.message}`)
      // What lies there now is no film of ours, whoever asks.
      const again = await fetch(url, { headers: { Range: 'bytes=12000000-12999999' } })
      const isVerified = again.headers.get('x-stream-verified')
      const body = await again.arrayBuffer().then((received) => Buffer.from(received), () => Buffer.alloc(0))
      if (again.status === 206 && isVerified === 'true') t.ok(film.subarray(12_000_000, 12_000_000 + body.length).equals(body), `${name}: asked again, what is said to be verified is right`)
    })))
  })
}

async function overwrite (path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, 'r+')
  await handle.write(bytes, 0, bytes.length, 0)
  await handle.close()
}

interface Cached {
  readonly torrent: TestTorrent
  readonly path: string
  readonly server: TestApp
  /** Does the mirror answer from now on? */
  readonly answers: { isOn: boolean }
}

/** A server that has downloaded the film from a mirror. */
async function cached (t: Test, isOpen: boolean, hasMirror: boolean): Promise<Cached> {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144 })
  const answers = { isOn: true }
  const mirror = await startMirror(t, torrent, { before: (_request, response) => { if (!answers.isOn) response.writeHead(503).end() } })
  const server = await startApp(t, { HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl, LINGER: isOpen ? '60' : '0', RESPONSE_STALL_LIMIT: hasMirror ? '20000' : '1500', STALL_TIMEOUT: '1000', START_TIMEOUT: hasMirror ? '20000' : '6000' })
  // Where the machine is slow, the short limits that this is about may cut a download.
  await until('it is downloaded', async () => film.equals(await bytesFrom(`${server.url}/stream/proxy/${torrent.infohash}`).catch(() => Buffer.alloc(0))))
  const path = join(server.directory, `${torrent.infohash}-Film.mp4`)
  await until('it is in the cache', () => server.app.stored.list().length === 1)
  if (!isOpen) await until('the torrent is let go', () => server.app.torrents.get(torrent.infohash) === null)
  return { torrent, path, server, answers }
}

/** Reads a response whole, or as far as it comes; after the first part something is done to the file, while the client waits. */
async function readWith (url: string, deed: () => Promise<void>): Promise<{ bytes: Buffer, error: Error | null, status: number }> {
  const asked = request(url, { agent: false })
  asked.end()
  const [response]: IncomingMessage[] = await once(asked, 'response')
  if (response === undefined) throw new Error('no response')
  asked.on('error', () => {})
  const chunks: Buffer[] = []
  let received = 0
  let isDone = false
  let error: Error | null = null
  try {
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) throw new Error('not bytes')
      chunks.push(chunk)
      received += chunk.length
      if (isDone || received < firstPart) continue
      isDone = true
      await deed()
    }
  } catch (cause) {
    if (!(cause instanceof Error)) throw cause
    error = cause
  }
  return { bytes: Buffer.concat(chunks), error, status: response.statusCode ?? 0 }
}
