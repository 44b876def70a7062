import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { encode } from '../../services/torrent/bencode.ts'
import { parseMetadata } from '../../services/torrent/metadata.ts'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'

t.test('a torrent of 10,000 files: any of them by its index, and only its own pieces are fetched', async (t) => {
  const all = testBytes(10_000 * 1_111, 'many')
  const files = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`folder ${i % 100}/file ${i}.${i === 5_000 ? 'mp4' : 'txt'}`, all.subarray(i * 1_111, (i + 1) * 1_111)]))
  const torrent = await makeTorrent(files, { name: 'Many', pieceLength: 16_384 })
  const mirror = await startMirror(t, torrent)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  for (const [query, i] of [['', 5_000], ['?fileIndex=0', 0], ['?fileIndex=7777', 7_777], ['?fileIndex=9999', 9_999]] as const) {
    t.ok(all.subarray(i * 1_111, (i + 1) * 1_111).equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}${query}`)), `file ${i}`)
  }
  t.match((await jsonFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=10000`)).body.reasons, [{ code: 'FILE_INDEX', message: /0 to 9999/ }])
  t.ok(mirror.requests.length < 500, `${mirror.requests.length} requests reached the mirror`)
})

t.test('files that share pieces, empty files and padding (BEP 47): each is served whole', async (t) => {
  const files = [['a.mp4', 20_001], ['empty.srt', 0], ['.pad/12767', 12_767, 'p'], ['b.mkv', 5_000], ['c.mkv', 40_000]] as const
  const bytes = files.map(([name, length, attr]) => attr === 'p' ? Buffer.alloc(length) : testBytes(length, name))
  const info = sorted({
    files: files.map(([path, length, attr]) => sorted({ ...attr === undefined ? {} : { attr }, length, path: path.split('/') })),
    name: 'Shapes',
    'piece length': 16_384,
    pieces: piecesOf(Buffer.concat(bytes), 16_384)
  })
  const torrent = encode(sorted({ info }))
  const metadata = parseMetadata(torrent)
  const mirror = await startMirror(t, { infohash: metadata.infohash, metadata, torrent, files: files.map(([path], i) => ({ path, bytes: bytes[i] ?? Buffer.alloc(0) })) })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  for (const [i, [name, , attr]] of files.entries()) {
    const response = await fetch(`${url}/stream/proxy/${metadata.infohash}?fileIndex=${i}`)
    if (attr === 'p') t.equal(response.status, 404, 'padding is no file')
    else t.ok(bytes[i]?.equals(Buffer.from(await response.arrayBuffer())), name)
  }
  t.notOk(mirror.requests.some((request) => request.includes('/2')), 'padding is never fetched')
})

t.test('a cached file stays cached when the next one is downloaded, with which it shares a piece', async (t) => {
  const files = { 'one.mp4': testBytes(100_000, 'one'), 'two.mp4': testBytes(90_000, 'two') }
  const torrent = await makeTorrent(files, { name: 'Season', pieceLength: 16_384 })
  const mirror = await startMirror(t, torrent)
  const env = { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl }
  const first = await startApp(t, env)
  t.ok(files['one.mp4'].equals(await bytesFrom(`${first.url}/stream/proxy/${torrent.infohash}?fileIndex=0`)))
  await until('it is in the cache', async () => await first.app.stored.find(torrent.infohash, 0))
  await first.app.close()
  // As when it was evicted: the piece is fetched again.
  await rm(join(first.directory, '.self-streme', 'partial', torrent.infohash), { recursive: true })

  const { url, app } = await startApp(t, { ...env, TORRENT_DOWNLOAD_PATH: first.directory })
  t.ok(files['two.mp4'].equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=1`)))
  await until('the other is in the cache, too', async () => await app.stored.find(torrent.infohash, 1))
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}?fileIndex=0`)
  t.match(Object.fromEntries(response.headers), { 'x-stream-source': 'cache', 'x-stream-verified': 'true' })
  t.ok(files['one.mp4'].equals(Buffer.from(await response.arrayBuffer())))
  t.ok(await app.stored.find(torrent.infohash, 0), 'as a file that the server stored')
})

t.test('a torrent of BEP 52 alone (version 2) is refused with a reason that says so', async (t) => {
  const info = sorted({ 'file tree': sorted({ 'Film.mp4': sorted({ '': sorted({ length: 5, 'pieces root': testBytes(32, 'root') }) }) }), 'meta version': 2, name: 'Film.mp4', 'piece length': 16_384 })
  const infohash = createHash('sha256').update(encode(info)).digest('hex').slice(0, 40)
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: await serveTorrent(t, encode(sorted({ info }))) })
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
  t.equal(status, 404)
  t.match(JSON.stringify(body.reasons), /version 2|v2|BEP 52/i)
})

function piecesOf (content: Buffer, pieceLength: number): Buffer {
  const hashes = []
  for (let i = 0; i < content.length; i += pieceLength) hashes.push(createHash('sha1').update(content.subarray(i, i + pieceLength)).digest())
  return Buffer.concat(hashes)
}

function sorted<T> (dictionary: Record<string, T>): Map<string, T> {
  return new Map(Object.entries(dictionary).sort(([a], [b]) => a < b ? -1 : 1))
}

/** A TORRENT_METADATA_URLS template whose every answer is this `.torrent`. */
async function serveTorrent (t: Test, torrent: Buffer): Promise<string> {
  const server = createServer((_request, response) => { response.end(torrent) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}/{hash}`
}
