import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { open, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import { bytesFrom } from '../../helper.ts'
import { startMirror } from '../../mirror.ts'
import { isAlive, startServer, swarmOf } from '../../server-process.ts'
import { tellFigure } from '../../soak.ts'
import { Missing, isSkippingMissing, makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'
import type { Test } from 'tap'

const run = promisify(execFile)
const mebibyte = 1024 * 1024
const diskBytes = 64 * mebibyte
const film = testBytes(200_000_003, 'full disk')
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

/** A disk of 64 MiB. */
async function smallDisk (t: Test): Promise<string> {
  const directory = await temporaryDirectory(t)
  try {
    await run('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'tmpfs', directory])
  } catch (error) {
    const message = `missing: the right to mount a tmpfs (run as root, with CAP_SYS_ADMIN): ${error instanceof Error ? error.message.trim() : String(error)}`
    throw isSkippingMissing ? new Missing(message) : new Error(message)
  }
  t.teardown(async () => { await run('umount', ['--lazy', directory]) })
  return directory
}

/** Takes all that is left of the disk, as somebody else's files do. What is freed later can be taken again. */
async function fillUp (directory: string): Promise<void> {
  const file = await open(join(directory, 'taken'), 'a')
  try {
    for (;;) await file.write(Buffer.alloc(65_536))
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
  } finally {
    await file.close()
  }
}

/** All that is sent; `onFirst` is awaited once the first bytes are there. */
async function playWhole (url: string, onFirst: () => Promise<void>): Promise<Buffer> {
  const response = await fetch(url)
  const chunks: Uint8Array[] = []
  if (response.status !== 200 || response.body === null) throw new Error(`${response.status} ${await response.text()}`)
  for await (const chunk of response.body) {
    if (chunks.push(chunk) === 1) await onFirst()
  }
  return Buffer.concat(chunks)
}

interface Case {
  readonly torrent: TestTorrent
  /** When does somebody else fill the disk? */
  readonly filled: 'never' | 'before the server starts' | 'as soon as the film plays'
  readonly env: Record<string, string>
  /** Called while it plays. */
  readonly look?: () => Promise<void>
}

/** Plays the film from its first byte to its last, and seeks back where there is room for that; what was on the disk meanwhile is printed. */
async function play (t: Test, { torrent, filled, env, look }: Case): Promise<void> {
  const directory = await smallDisk(t)
  if (filled === 'before the server starts') await fillUp(directory)
  const isFilled = filled !== 'never'
  const server = await startServer(t, { TORRENT_DOWNLOAD_PATH: directory, CACHE_MIN_FREE_MB: '0', ENABLE_MOCK: 'false', LOG_LEVEL: 'warn', LOG_FORMAT: 'json', ...env })
  const swarm = env.ENABLE_P2P === 'false' ? null : await swarmOf(server)
  const stream = `${server.url}/stream/proxy/${torrent.infohash}`
  const over = new AbortController()
  let isFilling = false
  let leastFree = Infinity
  const watching = (async () => {
    while (!over.signal.aborted) {
      const { bavail, bsize } = await statfs(directory)
      leastFree = Math.min(leastFree, bavail * bsize)
      await look?.()
      if (isFilling) await fillUp(directory)
      await wait(20)
    }
  })()
  try {
    const startedAt = performance.now()
    const bytes = await playWhole(stream, async () => {
      isFilling = isFilled
      if (isFilled) await fillUp(directory)
    })
    tellFigure(t, `full disk: ${t.name}`, `${Math.round(film.length / (performance.now() - startedAt) / 1000)} MB/s, at least ${Math.round(leastFree / 1e6)} MB free`)
    t.equal(bytes.length, film.length, 'it plays to the end')
    t.equal(sha1(bytes), sha1(film), 'every byte is right')
    if (isFilled) t.match(await (await fetch(`${server.url}/ready`)).text(), /a write failed for lack of space/, 'and so does /ready')
    if (isFilled) t.match(server.output(), /the disk is full: what readers wait for is kept in memory/, 'the log says that the disk is full')
    else t.ok(film.subarray(1_000_000, 3_000_001).equals(await bytesFrom(stream, { Range: 'bytes=1000000-3000000' })), 'and again after a seek back')
  } catch (error) {
    t.comment(server.output().slice(-3000))
    throw error
  } finally {
    over.abort()
    await watching
  }
  t.equal((await fetch(`${server.url}/health`)).status, 200, 'the server is up')
  t.ok(await isAlive(server.pid), 'it is the one that was started')
  if (swarm !== null) t.ok(await isAlive(swarm), 'and so is its swarm process')
}

for (const [what, filled] of [
  ['a disk of 64 MiB', 'never'],
  ['a disk of 64 MiB that somebody else fills meanwhile', 'as soon as the film plays'],
  ['a disk without a free byte before the server starts', 'before the server starts']
] as const) {
  testWith(t, `${what}, a film of 200 MB from a libtorrent seeder, which stays connected`, async (t) => {
    const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 1_048_576 })
    const seeder = await startSeeder(t, torrent)
    const peers: number[] = []
    await play(t, {
      torrent,
      filled,
      env: { STATIC_PEERS: seeder.address, ENABLE_HTTP_FALLBACK: 'false', ENABLE_P2P: 'true' },
      look: async () => { peers.push((await seeder.counts()).peers) }
    })
    const connected = peers.slice(peers.findIndex((count) => count > 0))
    t.ok(connected.length > 0 && connected.every((count) => count > 0), 'the seeder had its peer all the time')
    const { uploaded } = await seeder.counts()
    tellFigure(t, `full disk: ${what}: uploaded by the seeder`, `${Math.round(uploaded / 1e6)} MB`)
    t.ok(uploaded < film.length * 1.3, 'nothing much was fetched twice')
  }, 180_000)

  testWith(t, `${what}, a film of 200 MB from an HTTP mirror`, async (t) => {
    const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 1_048_576 })
    const mirror = await startMirror(t, torrent)
    await play(t, {
      torrent,
      filled,
      env: { ENABLE_P2P: 'false', ENABLE_HTTP_FALLBACK: 'true', HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_ALLOW_PRIVATE_NETWORKS: 'true' }
    })
  }, 180_000)
}
