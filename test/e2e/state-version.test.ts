import { createHash } from 'node:crypto'
import { mkdir, readFile, readdir, stat, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'
import type { TestTorrent } from '../testnet.ts'
import type { Test } from 'tap'

/*
 * A download directory as format 1 has it, written down here and not by the code that is tested: whoever changes a format
 * without another version, or forgets the upgrade, finds out.
 */

const addedAt = '2026-01-02T03:04:05.000Z'
const hints = { name: null, trackers: [], webSeeds: [], acceptableSources: [], exactSources: [], peers: [], selectOnly: [] }
const pieceLength = 65_536

interface Old {
  readonly directory: string
  /** Too small and of no video's name: in the cache by its record alone. */
  readonly stored: TestTorrent
  readonly placed: TestTorrent
  /** The first two of its pieces are here. */
  readonly begun: TestTorrent
}

async function oldDirectory (t: Test): Promise<Old> {
  const directory = join(await temporaryDirectory(t), 'cache')
  const stored = await makeTorrent({ 'Sound.flac': testBytes(200_000, 'stored') }, { pieceLength })
  const placed = await makeTorrent({ 'Placed.mp4': testBytes(1_100_000, 'placed') }, { pieceLength })
  const begun = await makeTorrent({ 'Begun.mkv': testBytes(300_000, 'begun') }, { pieceLength })
  const state = join(directory, '.self-streme')
  const partial = join(state, 'partial', begun.infohash)
  for (const folder of ['torrents', 'verified', join('partial', begun.infohash, 'edges')]) await mkdir(join(state, folder), { recursive: true })
  for (const { infohash, torrent } of [stored, placed, begun]) await writeFile(join(state, 'torrents', `${infohash}.torrent`), torrent)

  const storedPath = `${stored.infohash}-Sound.flac`
  await writeFile(join(directory, storedPath), bytesOf(stored))
  const { ino, mtimeNs } = await stat(join(directory, storedPath), { bigint: true })
  await writeFile(join(state, 'stored.json'), JSON.stringify({
    version: 1,
    files: [{ infohash: stored.infohash, fileIndex: 0, path: storedPath, lengthBytes: 200_000, inode: String(ino), mtimeNs: String(mtimeNs), name: 'Sound.flac', storedAt: addedAt, isDefault: true }]
  }))
  await writeFile(join(state, 'last-use.json'), JSON.stringify({ version: 1, pinned: [stored.infohash], streamed: [{ infohash: stored.infohash, fileIndex: 0, at: 1_767_323_045_000 }] }))
  await writeFile(join(state, 'added.json'), JSON.stringify({ version: 1, added: [{ infohash: stored.infohash, addedAt, isDone: true, hints: { ...hints, name: 'My sound' } }] }))

  const placedPath = join(directory, `${placed.infohash}.mp4`)
  await writeFile(placedPath, bytesOf(placed))
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(placedPath, anHourAgo, anHourAgo)
  const identity = await stat(placedPath, { bigint: true })
  await writeFile(join(state, 'verified', `${placed.infohash}-${identity.ino}.json`), JSON.stringify({
    version: 1, result: 'match', fileIndex: 0, uncheckedPieces: [], lengthBytes: 1_100_000, mtimeNs: String(identity.mtimeNs)
  }))

  const part = Buffer.alloc(300_000)
  bytesOf(begun).copy(part, 0, 0, 2 * pieceLength)
  await writeFile(join(partial, '0.part'), part)
  await writeFile(join(partial, 'completion'), bitmap(begun, 1))
  const left = await stat(join(partial, '0.part'), { bigint: true })
  await writeFile(join(partial, 'closed'), JSON.stringify({ version: 1, files: { '0.part': `${left.ino} ${left.size} ${left.mtimeNs}` } }))
  return { directory, stored, placed, begun }
}

/** The first two pieces of five are there. */
function bitmap ({ infohash }: TestTorrent, version: number): Buffer {
  const header = Buffer.concat([Buffer.from('SSBITMAP'), Buffer.from([0, version]), Buffer.from(infohash, 'hex'), Buffer.from([0, 0, 0, 5]), Buffer.from([0, 0, 0, 1, 0, 0]), Buffer.from([0b1100_0000])])
  return Buffer.concat([header, createHash('sha1').update(header).digest()])
}

function bytesOf ({ files }: TestTorrent): Buffer {
  return files[0]?.bytes ?? Buffer.alloc(0)
}

async function plays (t: Test, url: string, torrent: TestTorrent, range?: string): Promise<void> {
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`, range === undefined ? {} : { headers: { Range: range } })
  const body = Buffer.from(await response.arrayBuffer())
  t.equal(response.headers.get('x-stream-source'), 'cache', response.ok ? '' : body.toString())
  t.ok(body.equals(range === undefined ? bytesOf(torrent) : bytesOf(torrent).subarray(0, 2 * pieceLength)), torrent.metadata.name)
}

t.test('a download directory of format 1 plays as it is: stored, placed and begun files, pins and the list', async (t) => {
  const { directory, stored, placed, begun } = await oldDirectory(t)
  const { url, app } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  await plays(t, url, stored)
  await plays(t, url, placed)
  t.equal((await fetch(`${url}/stream/proxy/${placed.infohash}`, { method: 'HEAD' })).headers.get('x-stream-verified'), 'true', 'what was hashed is not hashed again')
  await plays(t, url, begun, 'bytes=0-131071')
  t.ok(app.torrentList.isAdded(stored.infohash))
  const { body } = await jsonFrom(`${url}/api/cache`)
  const entries: Array<{ infoHash: string, isPinned: boolean, isVerified: boolean }> = body.data.entries
  t.match(entries.find(({ infoHash }) => infoHash === stored.infohash), { isPinned: true, isVerified: true })
  await app.close()
  t.notOk((await readdir(join(directory, '.self-streme'))).some((name) => name.includes('corrupt')))
})

t.test('a download directory of the next format: cached files play, what that version wrote is left as it is, and it takes over what came meanwhile', async (t) => {
  const { directory, stored, placed, begun } = await oldDirectory(t)
  const state = join(directory, '.self-streme')
  const verdict = join('verified', (await readdir(join(state, 'verified')))[0] ?? '')
  const records = ['stored.json', 'last-use.json', 'added.json', 'dht.json', verdict]
  await writeFile(join(state, 'dht.json'), JSON.stringify({ version: 1, nodeId: 'a'.repeat(40), nodes: ['192.0.2.1:6881'] }))
  const originals = new Map<string, string>()
  for (const name of records) {
    const text = await readFile(join(state, name), 'utf8')
    originals.set(name, text)
    await writeFile(join(state, name), text.replace('"version":1', '"version":2,"news":true'))
  }
  await mkdir(join(state, 'repairs'))
  await writeFile(join(state, 'repairs', 'x.json'), '{"version":2}')
  await writeFile(join(state, 'partial', begun.infohash, 'completion'), bitmap(begun, 2))
  await writeFile(join(state, 'partial', begun.infohash, 'closed'), '{"version":2}')
  const contents = async (): Promise<Array<[string, string]>> => await Promise.all([...records, join('repairs', 'x.json')].map(async (name) => [name, await readFile(join(state, name), 'utf8')] as [string, string]))
  const newer = await contents()

  const warnings: string[] = []
  let fetchedBytes = 0
  const { mirrorUrl } = await startMirror(t, begun, {
    tamper (bytes) {
      fetchedBytes += bytes.length
      return bytes
    }
  })
  const older = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, HTTP_MIRROR_URLS: mirrorUrl }, { level: 'warn', stream: { write: (line) => { warnings.push(line) } } })
  await plays(t, older.url, placed)
  t.ok((await bytesFrom(`${older.url}/stream/proxy/${begun.infohash}`)).equals(bytesOf(begun)))
  t.ok(fetchedBytes <= 300_000 - 2 * pieceLength, `${fetchedBytes} bytes were fetched: what is begun goes on`)
  t.equal(warnings.filter((line) => line.includes('a newer Self-Streme wrote it, in format 2, and this one knows 1')).length, 3, 'it says which records, and what to do')
  // Meanwhile somebody adds one and pins another.
  const headers = { 'Content-Type': 'application/json' }
  t.equal((await jsonFrom(`${older.url}/api/torrents`, { method: 'POST', headers, body: JSON.stringify({ infoHash: placed.infohash }) })).status, 200)
  t.equal((await jsonFrom(`${older.url}/api/cache/${placed.infohash}/pin`, { method: 'POST' })).status, 200)
  await older.app.placedVerifier?.look()
  await older.app.close()
  t.same(await contents(), newer, 'not a byte of the newer records is another one')
  t.same((await readdir(directory)).sort(), ['.self-streme', `${stored.infohash}-Sound.flac`, `${placed.infohash}.mp4`, `${begun.infohash}-Begun.mkv`].sort(), 'and no file is gone')

  // The newer one is started again: this one in its place, to whom its own format is known.
  for (const [name, text] of originals) {
    const { atime, mtime } = await stat(join(state, name))
    await writeFile(join(state, name), text)
    await utimes(join(state, name), atime, mtime)
  }
  const { url, app } = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  await plays(t, url, stored)
  await plays(t, url, begun)
  for (const { infohash } of [stored, placed]) t.ok(app.torrentList.isAdded(infohash))
  const { body } = await jsonFrom(`${url}/api/cache`)
  t.same(body.data.entries.filter(({ isPinned }: { isPinned: boolean }) => isPinned).map(({ infoHash }: { infoHash: string }) => infoHash).sort(), [stored.infohash, placed.infohash].sort())
})
