import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'

import { pieceLengthFor } from '../../services/torrent/make-torrent.ts'
import { createTorrent, parseTorrent } from '../services/torrent/oracles.ts'
import { testBytes } from '../testnet.ts'
import { runScript } from './run-script.ts'

const root = join(import.meta.dirname, '..', '..')

const sizes: Array<[lengthBytes: number, why: string]> = [
  [1, 'one byte'],
  [16_384, 'one piece exactly'],
  [16_385, 'a byte more than a piece'],
  [1_000_000, 'pieces of 16 KiB'],
  [30_000_000, 'pieces of 32 KiB'],
  [33_554_432, 'a power of two']
]
for (const [lengthBytes, why] of sizes) {
  t.test(`the infohash is that of create-torrent: ${why}`, async t => {
    const cwd = t.testdir()
    const bytes = testBytes(lengthBytes, why)
    await writeFile(join(cwd, 'A film, ünïcode.mp4'), bytes)
    const oracle = await parseTorrent(await createTorrent([['A film, ünïcode.mp4', bytes]], { name: 'A film, ünïcode.mp4' }))
    const { code, stdout, stderr } = await runScript(t, 'infohash', ['A film, ünïcode.mp4'], { cwd })
    t.equal(stdout, `${oracle.infoHash}\n`)
    t.equal(stderr, '')
    t.equal(code, 0)
  })
}

t.test('pieces are as long as create-torrent makes them, at any size', async t => {
  const name = 'piece-length'
  const module: { default: (lengthBytes: number) => number } = await import(name)
  for (let exponent = 0; exponent < 40; exponent++) {
    for (const lengthBytes of [2 ** exponent - 1, 2 ** exponent, 2 ** exponent * 1.4143, 2 ** exponent * 1.4142].map(Math.ceil)) {
      t.equal(pieceLengthFor(lengthBytes), Math.min(module.default(lengthBytes), 4 * 1024 * 1024), `${lengthBytes} bytes`)
    }
  }
})

t.test("the documents' loop runs as it is written", async t => {
  const cwd = t.testdir({ cache: {} })
  const bytes = testBytes(1_200_000, 'loop')
  await writeFile(join(cwd, 'a film.mp4'), bytes)
  const { infoHash } = await parseTorrent(await createTorrent([['a film.mp4', bytes]], { name: 'a film.mp4' }))
  const { stdout } = await promisify(execFile)('sh', ['-c', 'for FILE in *.mp4; do HASH=$(npm --prefix "$ROOT" run -s infohash -- "$FILE"); cp "$FILE" "cache/$HASH-$FILE"; done; ls cache'], { cwd, env: { ...process.env, ROOT: root, INIT_CWD: '' } })
  t.equal(stdout, `${infoHash}-a film.mp4\n`)
})

t.test('several files: a line for each; one that cannot be read does not hide the others', async t => {
  const cwd = t.testdir({ 'empty.mp4': '', 'film.mp4': 'some bytes', folder: {} })
  const film = (await parseTorrent(await createTorrent([['film.mp4', Buffer.from('some bytes')]], { name: 'film.mp4' }))).infoHash
  const { code, stdout, stderr } = await runScript(t, 'infohash', ['nosuch.mp4', 'film.mp4', 'empty.mp4', 'folder'], { cwd })
  t.equal(stdout, `${film}  film.mp4\n`)
  t.equal(stderr, 'nosuch.mp4: there is no such file\nempty.mp4: it is empty: a torrent needs content\nfolder: it is not a regular file\n')
  t.equal(code, 1)
})

t.test('a .torrent: its own infohash, not that of a torrent of it', async t => {
  const cwd = t.testdir()
  const torrent = await createTorrent([['film.mp4', testBytes(50_000, 'film')]], { name: 'film.mp4' })
  await mkdir(cwd, { recursive: true })
  await writeFile(join(cwd, 'film.torrent'), torrent)
  t.equal((await runScript(t, 'infohash', ['film.torrent'], { cwd })).stdout, `${(await parseTorrent(torrent)).infoHash}\n`)
})

t.test('without a file it says how it is used', async t => {
  const { code, stdout, stderr } = await runScript(t, 'infohash', [], { cwd: t.testdir() })
  t.equal(code, 2)
  t.equal(stdout, '')
  t.match(stderr, 'Usage: npm run -s infohash -- FILE...')
})
