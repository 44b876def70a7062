import { mkdir, open, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

import { StoredFiles } from '../../services/cache/stored-files.ts'
import { listPieces } from '../../services/cache/verify.ts'
import { silent } from '../../services/log.ts'
import { bytesFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'
import type { TestTorrent } from '../testnet.ts'
import { runScript } from './run-script.ts'
import type { ScriptRun } from './run-script.ts'

const MB = 1_000_000
const pieceLength = 32_768

interface Place {
  readonly directory: string
  run (...args: string[]): Promise<ScriptRun>
  /** A file as the server stores it. */
  store (torrent: TestTorrent, fileIndex?: number): Promise<string>
  know (torrent: TestTorrent): Promise<void>
}

async function place (t: Test, env: Record<string, string> = {}): Promise<Place> {
  const cwd = await temporaryDirectory(t)
  const directory = join(cwd, 'cache')
  const know = async ({ infohash, torrent }: TestTorrent): Promise<void> => {
    await mkdir(join(directory, '.self-streme', 'torrents'), { recursive: true })
    await writeFile(join(directory, '.self-streme', 'torrents', `${infohash}.torrent`), torrent)
  }
  return {
    directory,
    know,
    run: async (...args) => await runScript(t, 'verify', args, { cwd, env: { TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: 'none', ...env } }),
    async store (torrent, fileIndex = 0) {
      await know(torrent)
      const file = torrent.files[fileIndex]
      if (file === undefined) throw new Error('no such file')
      const path = `${torrent.infohash}-${file.path}`
      await writeFile(join(directory, path), file.bytes)
      await utimes(join(directory, path), 1000, 1000)
      const stored = await StoredFiles.open({ directory, log: silent })
      await stored.add({ infohash: torrent.infohash, fileIndex, path, lengthBytes: file.bytes.length, name: file.path, isDefault: fileIndex === 0 })
      await stored.close()
      return join(directory, path)
    }
  }
}

/** Turns a bit of each of these bytes, as a bad disk does: nothing about the file changes but its content and its time. */
async function damage (path: string, ...offsets: number[]): Promise<void> {
  const handle = await open(path, 'r+')
  for (const offset of offsets) {
    const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, offset)
    await handle.write(Buffer.from([(buffer[0] ?? 0) ^ 1]), 0, 1, offset)
  }
  await handle.close()
  await utimes(path, 1000, 1000)
}

t.test('a cache in order: every file is named, exit code 0', async t => {
  const { directory, run, store, know } = await place(t)
  const [stored, placed, nameless] = [
    await makeTorrent({ 'stored.mp4': testBytes(MB, '1') }, { pieceLength }),
    await makeTorrent({ 'placed.mp4': testBytes(MB, '2') }, { pieceLength }),
    await makeTorrent({ 'nameless.mp4': testBytes(MB, '3') }, { pieceLength })
  ]
  const path = await store(stored)
  await know(placed)
  await writeFile(join(directory, `${placed.infohash}.mp4`), testBytes(MB, '2'))
  await writeFile(join(directory, `${nameless.infohash}.mp4`), testBytes(MB, '3'))
  const { code, stdout } = await run()
  t.equal(code, 0)
  t.match(stdout, `good     ${join('cache', basename(path))}: 31 pieces\n`)
  t.match(stdout, `good     cache/${placed.infohash}.mp4: 31 pieces\n`)
  t.match(stdout, `unknown  cache/${nameless.infohash}.mp4: the metadata of its torrent is not known here\n`)
  t.match(stdout, '2 good, 0 corrupt, 0 of no torrent file, 1 not checked\n')
  t.equal((await run(placed.infohash)).stdout.split('\n').length, 3, 'only the one that was asked for')
})

t.test('an empty cache, and one that is not there', async t => {
  const { run, directory } = await place(t)
  t.match(await run(), { code: 0, stdout: '0 good, 0 corrupt, 0 of no torrent file, 0 not checked\n' })
  t.same(await readdir(directory).catch(() => null), null, 'looking makes nothing')
})

t.test('corrupt: the file and its pieces are named, exit code 1, and nothing is changed', async t => {
  const { directory, run, store } = await place(t)
  const torrent = await makeTorrent({ 'film.mp4': testBytes(MB, 'film') }, { pieceLength })
  const path = await store(torrent)
  await damage(path, 0, 3 * pieceLength, 4 * pieceLength, MB - 1)
  const before = await readdir(directory, { recursive: true })
  const { code, stdout } = await run()
  t.equal(code, 1)
  t.match(stdout, `corrupt  ${join('cache', basename(path))}: wrong: 0, 3-4, 30 of 31 pieces\n`)
  t.match(stdout, '0 good, 1 corrupt, 0 of no torrent file, 0 not checked')
  t.same(await readdir(directory, { recursive: true }), before)
})

t.test('a placed file that is corrupt is reported and left alone, with --fix, too', async t => {
  const { directory, run, know } = await place(t)
  const torrent = await makeTorrent({ 'film.mp4': testBytes(MB, 'film') }, { pieceLength })
  await know(torrent)
  const path = join(directory, `${torrent.infohash}-film.mp4`)
  await writeFile(path, testBytes(MB, 'film'))
  await damage(path, 40_000)
  const damaged = await readFile(path)
  const { code, stdout } = await run('--fix')
  t.equal(code, 1)
  t.match(stdout, 'wrong: 1 of 31 pieces')
  t.match(stdout, 'placed by a person, so it is left alone: replace it, or delete it to have it downloaded')
  t.ok(damaged.equals(await readFile(path)))
})

t.test('--fix while no server runs: the next one fetches the wrong pieces, and only those', async t => {
  const { directory, run, store } = await place(t)
  const film = testBytes(3 * MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film }, { pieceLength })
  const path = await store(torrent)
  await damage(path, 5 * pieceLength, 50 * pieceLength)
  const { code, stdout } = await run('--fix')
  t.equal(code, 0)
  t.match(stdout, 'fixed: wrong pieces are fetched again when the file is asked for')
  t.match(stdout, '1 corrupt (1 fixed)')
  t.same((await readdir(directory)).filter((name) => !name.startsWith('.')), [], 'no reader gets the wrong bytes')

  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
  const fetched = mirror.requests.map((request) => /bytes=(\d+)-(\d+)$/.exec(request)?.slice(1).map(Number) ?? [0, Infinity])
  const bytes = fetched.reduce((sum, [start = 0, end = 0]) => sum + end - start + 1, 0)
  t.ok(bytes <= 4 * pieceLength, `${bytes} bytes were fetched for two pieces of ${pieceLength}`)
  await until('it is in the cache again', async () => (await readdir(directory)).includes(`${torrent.infohash}-film.mp4`))
  t.equal((await run()).code, 0)
})

t.test('--fix while the server runs: the server does it, and the next stream is right', async t => {
  const { directory, run, store } = await place(t)
  const film = testBytes(3 * MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film }, { pieceLength })
  const path = await store(torrent)
  await damage(path, 5 * pieceLength)
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const address = `${url}/stream/proxy/${torrent.infohash}`
  t.notOk(film.equals(await bytesFrom(address)), 'nobody has looked at the bytes yet')
  const { code, stdout } = await run('--fix', torrent.infohash)
  t.equal(code, 0, stdout)
  t.match(stdout, 'fixed: wrong pieces are fetched again')
  t.ok(film.equals(await bytesFrom(address)))
  t.same(await readdir(join(directory, '.self-streme', 'repairs')), [])
})

t.test('--fix while the corrupt file is being streamed: the rest of the stream is right', async t => {
  const { directory, run, store } = await place(t)
  const film = testBytes(40 * MB, 'film')
  const torrent = await makeTorrent({ 'film.mp4': film }, { pieceLength: 262_144 })
  const path = await store(torrent)
  await damage(path, film.length - 1)
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  const reader = response.body?.getReader()
  const chunks = [(await reader?.read())?.value ?? new Uint8Array()]
  t.equal((await run('--fix')).code, 0)
  for (let next = await reader?.read(); next?.done === false; next = await reader?.read()) chunks.push(next.value)
  t.ok(film.equals(Buffer.concat(chunks)))
})

t.test('a torrent of several files: common pieces are checked with the file beside it, or with the piece that was kept', async t => {
  const { directory, run, store } = await place(t)
  const torrent = await makeTorrent({ 'one.mp4': testBytes(MB, '1'), 'two.mp4': testBytes(MB + 7, '2'), 'three.mp4': testBytes(MB + 9, '3') }, { pieceLength, name: 'Season' })
  await store(torrent, 0)
  const two = await store(torrent, 1)
  t.match((await run()).stdout, `${basename(two)}: 31 pieces, 1 not checked: shared with files that are not here`)

  const whole = Buffer.concat(torrent.files.map(({ bytes }) => bytes))
  const shared = Math.floor((2 * MB + 7) / pieceLength)
  const edges = join(directory, '.self-streme', 'partial', torrent.infohash, 'edges')
  await mkdir(edges, { recursive: true })
  await writeFile(join(edges, String(shared)), whole.subarray(shared * pieceLength, (shared + 1) * pieceLength))
  t.match((await run()).stdout, `good     ${join('cache', basename(two))}: 32 pieces\n`)
  await damage(two, MB + 6)
  const { code, stdout } = await run('--fix')
  t.match(stdout, `wrong: ${shared} of 92 pieces`)
  t.equal(code, 0)

  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  for (const [index, { bytes }] of torrent.files.entries()) {
    if (index < 2) t.ok(bytes.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=${index}`)), `file ${index}`)
  }
})

t.test('wrong use, and what a read-only directory forbids', async t => {
  t.match(await (await place(t)).run('film.mp4'), { code: 2, stderr: /film\.mp4 is not an infohash.*Usage/s })
  t.match(await (await place(t, { CACHE_READ_ONLY: 'true' })).run('--fix'), { code: 1, stderr: /CACHE_READ_ONLY=true/ })
})

t.test('pieces are listed for people', async t => {
  t.equal(listPieces([]), '')
  t.equal(listPieces([7, 3, 4, 5]), '3-5, 7')
  t.equal(listPieces(Array.from({ length: 30 }, (_, i) => i * 2)), '0, 2, 4, 6, 8, 10, 12, 14, 16, 18, … (30 in all)')
})
