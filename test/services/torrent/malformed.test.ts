import { execFile } from 'node:child_process'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { MetadataResolver } from '../../../services/download/metadata-resolver.ts'
import { silent } from '../../../services/log.ts'
import { decode, encode } from '../../../services/torrent/bencode.ts'
import { makeTorrent } from '../../../services/torrent/make-torrent.ts'
import { maxTorrentBytes, parseMetadata } from '../../../services/torrent/metadata.ts'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { temporaryDirectory } from '../../testnet.ts'
import { openFetcher, serve } from '../download/origin.ts'
import { bombs, mutated } from './malformed.ts'
import { bencoded, codeOf, createTorrent, fixture, parseTorrent, seeded, torrentOfFiles } from './oracles.ts'
import type { Bencoded } from '../../../services/torrent/bencode.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'
import type { Test } from 'tap'

const never = new AbortController().signal
const slowestAllowedMs = 2000

/** Torrents of every tool and kind: real ones, our own, and one with all that BEP 47 and 52 add. */
async function originals (t: Test): Promise<Buffer[]> {
  const film = join(await temporaryDirectory(t), 'film.mp4')
  await writeFile(film, Buffer.alloc(100_000, 'film'))
  const hybrid = torrentOfFiles([
    { length: 20_000, path: ['Season 1', 'a.mkv'], sha1: Buffer.alloc(20), 'path.utf-8': ['Season 1', 'ä.mkv'] },
    { length: 12_768, path: ['.pad', '12768'], attr: 'p' },
    { length: 7_232, path: ['b.mkv'], attr: 'x' },
    { path: ['link'], attr: 'l', 'symlink path': ['b.mkv'] }
  ], { 'meta version': 2, 'file tree': { 'b.mkv': { '': { length: 7232, 'pieces root': Buffer.alloc(32) } } }, private: 1 })
  return [
    ...['leaves', 'alice', 'folder', 'numbers', 'lotsOfNumbers', 'bunny', 'sintel', 'leavesMetadata', 'corrupt'].map((name) => fixture(name).torrent),
    (await makeTorrent(film, { signal: never })).torrent,
    await createTorrent([['Folder/a.mp4', Buffer.alloc(50_000, 1)], ['Folder/sub/b.srt', Buffer.alloc(500, 2)]], { pieceLength: 16384, announceList: [['udp://a.example:1'], ['http://b.example/announce']], urlList: ['https://m.example/'] }),
    hybrid,
    bencoded({ info: { name: 'old', length: 5, 'piece length': 16384, pieces: Buffer.alloc(20) }, 'url-list': ['http://a.example/', 'http://b.example/'], httpseeds: ['http://c.example/'], announce: 'udp://d.example:1', 'announce-list': [['udp://d.example:1', 'udp://e.example:1'], ['wss://f.example']] })
  ]
}

/** parse-torrent encodes the info dictionary anew: its infohash is right only where that gives the same bytes. */
function isCanonical (torrent: Buffer): boolean {
  const hasPlainKeys = (value: Bencoded): boolean => value instanceof Map
    ? [...value].every(([key, item]) => /^[\x20-\x7e]*$/.test(key) && hasPlainKeys(item))
    : !Array.isArray(value) || value.every(hasPlainKeys)
  try {
    const { value, rawOf } = decode(torrent)
    const info = value instanceof Map ? value.get('info') : undefined
    return info !== undefined && hasPlainKeys(info) && rawOf('info')?.equals(encode(info)) === true
  } catch {
    return false
  }
}

/** What parse-torrent reads otherwise; null where it agrees, or reads nothing. */
async function disagreement (metadata: Metadata): Promise<string | null> {
  const oracle = await parseTorrent(new Uint8Array(metadata.torrent)).catch(() => null)
  if (oracle === null) return null
  // It names the file of a single-file torrent by a key that such a torrent does not have (`path`).
  const nameOf = (name: string): string => metadata.isMultiFile ? readAs(name) : ''
  const readAs = (text: string): string => text.replace(/^\ufeff/, '')
  const ours = { name: readAs(metadata.name), lengthBytes: metadata.lengthBytes, pieceLength: metadata.pieceLength, files: metadata.files.map(({ name, lengthBytes, offset }) => [nameOf(name), lengthBytes, offset]) }
  const theirs = { name: oracle.name, lengthBytes: oracle.length, pieceLength: oracle.pieceLength, files: oracle.files.map(({ name, length, offset }) => [nameOf(name), length, offset]) }
  if (isCanonical(metadata.torrent)) Object.assign(ours, { infohash: metadata.infohash }) && Object.assign(theirs, { infohash: oracle.infoHash })
  const [a, b] = [JSON.stringify(ours), JSON.stringify(theirs)]
  return a === b ? null : `${a} is read by parse-torrent as ${b}`
}

t.test('mutated torrents are read as parse-torrent reads them, or refused with a code, each in bounded time', { timeout: 0 }, async (t) => {
  const random = seeded(seedOf(t))
  const count = amount('SOAK_TORRENTS', 1000)
  const torrents = await originals(t)
  const outcomes = new Map<string, number>()
  const surprises: string[] = []
  let slowestMs = 0
  let compared = 0
  for (let round = 0; round < count; round++) {
    const bytes = mutated(torrents[round % torrents.length] ?? Buffer.alloc(0), random)
    const startedAt = performance.now()
    let metadata: Metadata | null = null
    const outcome = codeOf(() => {
      metadata = parseMetadata(bytes)
      for (let piece = 0; piece < metadata.pieceCount; piece++) if (metadata.hashOf(piece).length !== 20) throw new Error('a hash is cut off')
      if (metadata.files.reduce((sum, file) => sum + file.lengthBytes, 0) !== metadata.lengthBytes) throw new Error('the lengths do not add up')
      if (metadata.pieceCount !== Math.ceil(metadata.lengthBytes / metadata.pieceLength)) throw new Error('the pieces are not those of the length')
    })
    slowestMs = Math.max(slowestMs, performance.now() - startedAt)
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    if (metadata === null) continue
    compared++
    const surprise = await disagreement(metadata)
    if (surprise !== null) surprises.push(`round ${round}: ${surprise}`.slice(0, 2000))
  }
  t.strictSame(surprises.slice(0, 3), [])
  t.strictSame([...outcomes.keys()].filter((outcome) => !/^(METADATA_INVALID|METADATA_V2_ONLY|nothing was thrown)$/.test(outcome)), [])
  t.ok(compared > count / 10, `enough of them are read: ${compared} of ${count}`)
  t.ok(compared < count * 0.9, 'and enough refused')
  t.ok(slowestMs < slowestAllowedMs, `the slowest took ${Math.round(slowestMs)} ms`)
  tellFigure(t, 'malformed torrents', count)
  tellFigure(t, 'of these read after all', compared)
  tellFigure(t, 'slowest, ms', Math.round(slowestMs))
})

t.test('torrents made by hand to take all time or memory get neither', async (t) => {
  const directory = await temporaryDirectory(t)
  for (const [name, make] of Object.entries(bombs)) await writeFile(join(directory, name), make().subarray(0, maxTorrentBytes))
  const script = join(import.meta.dirname, 'parse-files.ts')
  const { stdout } = await promisify(execFile)(process.execPath, ['--expose-gc', '--max-old-space-size=256', script, directory], { env: { PATH: process.env['PATH'] } })
  const { outcomes, maxRssMb }: { outcomes: Array<{ name: string, outcome: string, ms: number }>, maxRssMb: number } = JSON.parse(stdout)
  t.equal(outcomes.length, Object.keys(bombs).length)
  const read = new Set(['a hundred thousand files', 'files of two components and an attribute', 'half a million hashes', 'trackers that are almost URLs', 'web seeds of ten megabytes'])
  for (const { name, outcome, ms } of outcomes) {
    t.equal(outcome, read.has(name) ? 'nothing was thrown' : 'METADATA_INVALID', name)
    t.ok(ms < slowestAllowedMs, `${name}: ${ms} ms of processor time`)
  }
  t.ok(maxRssMb < 600, `the process took ${maxRssMb} MB at most`)
  tellFigure(t, 'slowest bomb, ms of processor time', Math.max(...outcomes.map(({ ms }) => ms)))
  tellFigure(t, 'memory of a process that parses all bombs, MB', maxRssMb)
})

t.test('a cache that sends malformed torrents is a reason, whatever it sends', { timeout: 0 }, async (t) => {
  const random = seeded(seedOf(t))
  const torrents = await originals(t)
  let body: Buffer = Buffer.alloc(0)
  const { url } = await serve(t, (_request, response) => { response.end(body) })
  const fetcher = openFetcher(t)
  const codes = new Map<string, number>()
  for (let round = 0; round < amount('SOAK_TORRENTS', 1000) / 5; round++) {
    const original = torrents[round % torrents.length] ?? body
    const infohash = codeOf(() => parseMetadata(original)) === 'nothing was thrown' ? parseMetadata(original).infohash : 'a'.repeat(40)
    body = mutated(original, random)
    const resolver = new MetadataResolver({ templates: [`${url.href}{hash}`], fetcher, log: silent })
    const outcome = await resolver.resolve({ infohash }, never).then(({ infohash: found }) => found === infohash ? 'found' : 'another', (error: unknown) => codeOf(() => { throw error }))
    codes.set(outcome, (codes.get(outcome) ?? 0) + 1)
  }
  t.strictSame([...codes.keys()].filter((code) => code !== 'found' && code !== 'METADATA_NOT_FOUND' && code !== 'METADATA_V2_ONLY'), [])
  t.ok(codes.has('METADATA_NOT_FOUND'))
})
