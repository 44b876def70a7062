import { chmod, link, mkdir, readFile, readdir, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

import { bytesFrom, jsonFrom } from '../helper.ts'
import { startServer } from '../server-process.ts'
import { createTorrent, parseTorrent } from '../services/torrent/oracles.ts'
import { temporaryDirectory, testBytes } from '../testnet.ts'
import { runScript } from './run-script.ts'
import type { ScriptRun } from './run-script.ts'

const MB = 1_000_000
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

interface Place {
  readonly cwd: string
  readonly cache: string
  run (...args: string[]): Promise<ScriptRun>
  put (path: string, bytes: Buffer): Promise<string>
}

async function place (t: Test, env: Record<string, string> = {}): Promise<Place> {
  const cwd = await temporaryDirectory(t)
  const cache = join(cwd, 'cache')
  return {
    cwd,
    cache,
    run: async (...args) => await runScript(t, 'import', args, { cwd, env: { TORRENT_DOWNLOAD_PATH: cache, ...env } }),
    async put (path, bytes) {
      await mkdir(dirname(join(cwd, path)), { recursive: true })
      await writeFile(join(cwd, path), bytes)
      return join(cwd, path)
    }
  }
}

const visible = async (folder: string): Promise<string[]> => (await readdir(folder).catch(() => [])).filter((name) => !name.startsWith('.')).sort()

t.test('a film: its infohash, address and magnet are printed, and it is in the cache as a hard link', async t => {
  const { cache, run, put } = await place(t, { PORT: '7777' })
  const bytes = testBytes(1_500_000, 'film')
  const path = await put('A film.mkv', bytes)
  const { infoHash } = await parseTorrent(await createTorrent([['A film.mkv', bytes]], { name: 'A film.mkv' }))
  const { code, stdout, stderr } = await run('A film.mkv')
  const target = join(cache, `${infoHash}-A film.mkv`)
  t.equal(stdout, `\
${infoHash}  A film.mkv
  file    cache/${infoHash}-A film.mkv (linked, verified)
  stream  http://localhost:7777/stream/proxy/${infoHash}
  magnet  magnet:?xt=urn:btih:${infoHash}&dn=A%20film.mkv
`)
  t.equal(stderr, 'hashing A film.mkv (1.4 MB)\n', 'plain lines where there is no terminal')
  t.equal(code, 0)
  t.equal((await stat(target)).ino, (await stat(path)).ino)
  const kept = await parseTorrent(await readFile(join(cache, '.self-streme', 'torrents', `${infoHash}.torrent`)))
  t.equal(kept.infoHash, infoHash)

  const again = await run('A film.mkv')
  t.equal(again.code, 0, 'twice does no harm')
  t.match(again.stdout, '(already there, verified)')
  t.same(await visible(cache), [`${infoHash}-A film.mkv`])
})

t.test('--copy copies; the copy is as old as the original, and no unfinished one stays', async t => {
  const { cache, run, put } = await place(t)
  const bytes = testBytes(1_500_000, 'film')
  const path = await put('film.mp4', bytes)
  const { stdout } = await run('film.mp4', '--copy')
  t.match(stdout, '(copied, verified)')
  const [name = ''] = await visible(cache)
  const [copied, original] = await Promise.all([stat(join(cache, name)), stat(path)])
  t.not(copied.ino, original.ino)
  t.equal(Math.floor(copied.mtimeMs), Math.floor(original.mtimeMs))
  t.ok(bytes.equals(await readFile(join(cache, name))))
  t.same(await readdir(join(cache, '.self-streme', 'importing')), [])
  t.match((await run('film.mp4', '--copy')).stdout, '(already there, verified)')
})

t.test('a link to a file elsewhere: the file itself, under the name of the link', async t => {
  const { cache, cwd, run, put } = await place(t)
  await symlink(await put('elsewhere/0001.bin', testBytes(MB, 'film')), join(cwd, 'film.mp4'))
  t.equal((await run('film.mp4')).code, 0)
  const [name = ''] = await visible(cache)
  t.match(name, /^[0-9a-f]{40}-film\.mp4$/)
  t.ok((await stat(join(cache, name))).isFile())
})

t.test('a folder: each video in it, and below it, is a torrent of its own', async t => {
  const { cache, run, put } = await place(t)
  await put('films/one.mp4', testBytes(MB, 'one'))
  await put('films/season/two.mkv', testBytes(MB, 'two'))
  await put('films/season/two.srt', testBytes(10, 'subtitles'))
  await put('films/.trash/three.mp4', testBytes(MB, 'three'))
  const { code, stdout } = await run('films')
  t.equal(code, 0)
  t.equal(stdout.match(/^ {2}stream/gm)?.length, 2)
  t.same((await visible(cache)).map((name) => name.slice(41)).sort(), ['one.mp4', 'two.mkv'])
})

const refusals: Array<[what: string, make: (at: Place) => Promise<string[]>, reason: RegExp]> = [
  ['a file that is not there', async () => ['nosuch.mp4'], /there is no such file/],
  ['an extension that is not served', async ({ put }) => { await put('film.txt', testBytes(MB, 'a')); return ['film.txt'] }, /files with \.txt are not served: the cache takes mp4, mkv, avi, mov, m4v, webm, flv/],
  ['no extension', async ({ put }) => { await put('film', testBytes(MB, 'a')); return ['film'] }, /it has no extension/],
  ['one byte too few', async ({ put }) => { await put('film.mp4', testBytes(MB - 1, 'a')); return ['film.mp4'] }, /it has 999999 bytes, and the cache takes files of at least 1000000/],
  ['a folder without a video', async ({ put }) => { await put('texts/a.txt', testBytes(MB, 'a')); return ['texts'] }, /there is no video in this folder/],
  ['a folder that is called like a video', async ({ cwd }) => { await mkdir(join(cwd, 'film.mp4')); return ['film.mp4'] }, /there is no video in this folder/],
  ['a file of another length than the torrent has', async (at) => {
    await at.put('film.torrent', await createTorrent([['film.mp4', testBytes(MB + 1, 'a')]], { name: 'film.mp4' }))
    await at.put('film.mp4', testBytes(MB, 'a'))
    return ['film.mp4', '--torrent', 'film.torrent']
  }, /it has 1000000 bytes, and torrent [0-9a-f]{40} has no such file \(film\.mp4 has 1000001\)/],
  ['a file with a wrong byte', async (at) => {
    const bytes = testBytes(MB, 'a')
    await at.put('film.torrent', await createTorrent([['film.mp4', bytes]], { name: 'film.mp4' }))
    bytes[20_000] = (bytes[20_000] ?? 0) ^ 1
    await at.put('film.mp4', bytes)
    return ['film.mp4', '--torrent', 'film.torrent']
  }, /piece 1 of 62 is not that of film\.mp4 in torrent/],
  ['another file under the name that it would get', async (at) => {
    await at.put(`cache/${infohash}-film.mp4`, testBytes(MB, 'other'))
    await at.put('film.mp4', testBytes(MB, 'a'))
    return ['film.mp4', '--infohash', infohash]
  }, /another file has its name already: compare it with .*, and remove the wrong one/],
  ['a file of the cache', async (at) => {
    await at.put(`cache/${infohash}-film.mp4`, testBytes(MB, 'other'))
    return [join('cache', `${infohash}-film.mp4`)]
  }, new RegExp(`it is in the cache already, as ${infohash}`)],
  ['an --adopt that is no folder', async () => ['--adopt', 'nosuch'], /it is no folder/]
]
for (const [what, make, reason] of refusals) {
  t.test(`refused, and nothing is changed: ${what}`, async t => {
    const at = await place(t)
    const args = await make(at)
    const before = await visible(at.cache)
    const { code, stdout, stderr } = await at.run(...args)
    t.equal(code, 1)
    t.equal(stdout, '')
    t.match(stderr, /^refused {2}/m)
    t.match(stderr, reason)
    t.same(await visible(at.cache), before)
  })
}

t.test('refused: a file without the right to read it', { skip: process.getuid?.() === 0 && 'the superuser may read everything' }, async t => {
  const { run, put } = await place(t)
  await chmod(await put('film.mp4', testBytes(MB, 'a')), 0)
  t.match((await run('film.mp4')).stderr, /cannot be read/)
})

t.test('one that is refused does not stop the others, and the exit code says so', async t => {
  const { cache, run, put } = await place(t)
  await put('film.mp4', testBytes(MB, 'a'))
  const { code, stdout } = await run('nosuch.mp4', 'film.mp4')
  t.equal(code, 1)
  t.match(stdout, '(linked, verified)')
  t.equal((await visible(cache)).length, 1)
})

t.test('wrong use: exit code 2 and how it is used', async t => {
  for (const args of [[], ['--infohash', 'xyz', 'a.mp4'], ['--infohash', infohash], ['--nosuch']]) {
    const { code, stderr } = await (await place(t)).run(...args)
    t.equal(code, 2)
    t.match(stderr, 'Usage: npm run import -- FILE...')
  }
})

t.test('CACHE_READ_ONLY=true: it says so, and writes nothing', async t => {
  const { cache, run, put } = await place(t, { CACHE_READ_ONLY: 'true' })
  await put('film.mp4', testBytes(MB, 'a'))
  const { code, stderr } = await run('film.mp4')
  t.equal(code, 1)
  t.match(stderr, 'CACHE_READ_ONLY=true')
  t.same(await readdir(cache).catch(() => []), [])
})

t.test('--infohash: of a torrent that nobody knows, it is placed and not verified', async t => {
  const { cache, run, put } = await place(t)
  await put('film.mp4', testBytes(MB, 'a'))
  const { code, stdout } = await run('film.mp4', '--infohash', infohash.toUpperCase())
  t.equal(code, 0)
  t.match(stdout, '(linked, not verified: the metadata of this torrent is not known here)')
  t.same(await visible(cache), [`${infohash}-film.mp4`])
  t.equal((await run('film.mp4', '--infohash', infohash, '--copy')).code, 0, 'twice does no harm')
})

t.test('--torrent: files find their place in it by length, name and bytes; common pieces are checked when all are given', async t => {
  const { cache, run, put } = await place(t)
  const files: Array<[string, Buffer]> = [['one.mp4', testBytes(MB, '1')], ['two.mp4', testBytes(MB, '2')], ['three.mkv', testBytes(MB + 77, '3')]]
  const torrent = await createTorrent(files.map(([name, bytes]) => [`Season/${name}`, bytes]), { name: 'Season' })
  const hash = (await parseTorrent(torrent)).infoHash
  await put('season.torrent', torrent)
  const [one, two, three] = files.map(([, bytes]) => bytes)
  // The names of two files of one length are swapped: only the bytes tell.
  await put('downloads/two.mp4', one ?? Buffer.alloc(0))
  await put('downloads/one.mp4', two ?? Buffer.alloc(0))
  await put('downloads/third.mkv', three ?? Buffer.alloc(0))
  const alone = await run('downloads/third.mkv', '--torrent', 'season.torrent')
  t.match(alone.stdout, 'verified but for pieces that it shares with files that are not here')
  t.match(alone.stdout, `stream  http://localhost:11470/stream/proxy/${hash}?fileIndex=2`)
  const all = await run('downloads', '--torrent', 'season.torrent')
  t.equal(all.code, 0, all.stderr)
  t.same(await visible(cache), [`${hash}-one.mp4`, `${hash}-three.mkv`, `${hash}-two.mp4`])
  for (const [name, bytes] of files) t.ok(bytes.equals(await readFile(join(cache, `${hash}-${name}`))), name)

  await put('again/one.mp4', one ?? Buffer.alloc(0))
  const known = await run('again', '--infohash', hash)
  t.equal(known.code, 0, 'its metadata is known from before')
  t.match(known.stdout, '(already there,')
})

t.test('--adopt: what is named by an infohash comes over, by file or folder, at any depth', async t => {
  const { cache, run, put } = await place(t)
  const folderHash = 'a'.repeat(40)
  await put(`temp/${infohash.toUpperCase()}.mp4`, testBytes(MB, '1'))
  await put(`temp/${folderHash}/A Film (2001)/film.mkv`, testBytes(MB, '2'))
  await put(`temp/${folderHash}/A Film (2001)/film.nfo`, testBytes(100, '3'))
  await put('temp/holiday.mp4', testBytes(MB, '4'))
  await put(`temp/${'b'.repeat(40)}.mp4`, testBytes(1000, '5'))
  const { code, stdout, stderr } = await run('--adopt', 'temp')
  t.equal(code, 1, 'one is too small')
  t.match(stderr, /refused .*b{40}\.mp4: it has 1000 bytes/)
  t.match(stderr, /left out .*temp: 1 of its videos have no infohash/)
  t.equal(stdout.match(/not verified/g)?.length, 2)
  t.same(await visible(cache), [`${infohash.toUpperCase()}.mp4`, `${folderHash}-film.mkv`])
})

t.test('a file that is full of holes and was never downloaded is refused where the torrent is known', async t => {
  const { run, put, cwd } = await place(t)
  const torrent = await createTorrent([['film.mp4', testBytes(MB, 'film')]], { name: 'film.mp4' })
  const { infoHash } = await parseTorrent(torrent)
  await put(`cache/.self-streme/torrents/${infoHash}.torrent`, torrent)
  await put(`temp/${infoHash}/film.mp4`, Buffer.alloc(0))
  await truncate(join(cwd, 'temp', infoHash, 'film.mp4'), MB)
  t.match((await run('--adopt', 'temp')).stderr, /piece 0 of 62 is not that of film\.mp4/)
})

t.test('while the server runs: the stream works at once, verified, with the ETag of the torrent', async t => {
  const { cwd, run, put } = await place(t)
  const server = await startServer(t, { ENABLE_P2P: 'false' }, cwd)
  const bytes = testBytes(3_000_000, 'film')
  const { infoHash } = await parseTorrent(await createTorrent([['film.mp4', bytes]], { name: 'film.mp4' }))
  const url = `${server.url}/stream/proxy/${infoHash}`
  t.equal((await jsonFrom(url)).status, 404, 'nobody has it yet')
  await put('film.mp4', bytes)
  t.equal((await run('film.mp4')).code, 0)
  for (const address of [url, `${url}?fileIndex=0`]) {
    const response = await fetch(address)
    t.equal(response.status, 200)
    t.equal(response.headers.get('x-stream-source'), 'cache')
    t.equal(response.headers.get('x-stream-verified'), 'true')
    t.equal(response.headers.get('etag'), `"${infoHash}-0"`)
    t.equal(response.headers.get('content-disposition'), 'inline; filename="film.mp4"')
    t.ok(bytes.equals(Buffer.from(await response.arrayBuffer())))
  }
  const { body } = await jsonFrom(`${server.url}/api/torrents/${infoHash}`)
  t.match(body.data, { cached: true, name: 'film.mp4', progress: 1, fileIndex: 0 })
})

t.test('a file that is written to after its import is not verified any more', async t => {
  const { cwd, cache, run, put } = await place(t)
  const server = await startServer(t, { ENABLE_P2P: 'false' }, cwd)
  const path = await put('film.mp4', testBytes(MB, 'film'))
  await run('film.mp4')
  const [name = ''] = await visible(cache)
  const other = testBytes(MB, 'another')
  await writeFile(path, other)
  const url = `${server.url}/stream/proxy/${name.slice(0, 40)}`
  t.ok(other.equals(await bytesFrom(url)), 'the hard link shows it')
  t.equal((await fetch(url, { method: 'HEAD' })).headers.get('x-stream-verified'), 'false')
})

t.test('a second name for the same file in the cache is no other file', async t => {
  const { cache, run, put } = await place(t)
  const path = await put('film.mp4', testBytes(MB, 'film'))
  await mkdir(cache)
  await link(path, join(cache, `${infohash}-film.mp4`))
  t.match((await run('film.mp4', '--infohash', infohash)).stdout, '(already there')
})
