// Reading verified pieces through the store, against the file system and against a cached file that is whole: the same
// bytes, in one process. node benchmarks/partial-store.ts [--size MB] [--rounds N]
//
// Each read is a request of its own, opened and ended; each chunk is taken, and given back as a response gives it back.
// Rounds go from reader to reader in turn, so that whatever else the machine does meets all of them.
import { createHash } from 'node:crypto'
import { mkdtemp, open, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openDiskFile } from '../services/cache/disk-file.ts'
import { recycleChunk } from '../services/chunk-pool.ts'
import { Demand } from '../services/pieces/demand.ts'
import type { ByteRange } from '../services/pieces/geometry.ts'
import { readPieces } from '../services/pieces/piece-reader.ts'
import { PieceStore } from '../services/pieces/piece-store.ts'
import { encode } from '../services/torrent/bencode.ts'
import { parseMetadata } from '../services/torrent/metadata.ts'
import { median, printTable, ratio } from './figures.ts'
import { MB, writeRandom } from './servers.ts'

const pieceLength = MB
const chunkBytes = MB
const rangeBytes = 64 * 1024
const rangesPerRound = 500

const { values } = parseArgs({
  options: {
    size: { type: 'string', default: '256' },
    rounds: { type: 'string', default: '15' }
  }
})
const sizeMB = Number(values.size)
const rounds = Number(values.rounds)

/** Reads the range to its end, and resolves with how many bytes came. */
type Read = (range: ByteRange) => Promise<number>

const directory = await mkdtemp(join(tmpdir(), 'self-streme-bench-'))
try {
  const path = join(directory, 'movie.mkv')
  await writeRandom(path, sizeMB)
  const store = await filledStore(await readFile(path))
  const { signal } = new AbortController()

  const plain = await open(path)
  const buffer = Buffer.alloc(chunkBytes)
  const cached = await openDiskFile({ path, source: 'cache', isVerified: true })
  const demand = new Demand()
  const readers: Array<[name: string, read: Read]> = [
    ['file system', async ({ start, end }) => {
      let position = start
      while (position <= end) position += (await plain.read(buffer, 0, Math.min(chunkBytes, end - position + 1), position)).bytesRead
      return position - start
    }],
    ['cached file', async range => await consume(cached.read(range, signal))],
    ['partial store', async range => await consume(readPieces(store, 0, range, { want: demand.open(), signal, progress: () => 0 }))]
  ]

  const whole = { start: 0, end: sizeMB * MB - 1 }
  const results = readers.map(([name]) => ({ name, sequential: [] as number[], random: [] as number[] }))
  // One round that does not count: who was asked first would have compiled least.
  for (let round = -1; round < rounds; round++) {
    for (const [i, [, read]] of readers.entries()) {
      const sequential = await bytesPerSecond(read, [whole])
      const random = await bytesPerSecond(read, Array.from({ length: rangesPerRound }, () => {
        const start = Math.floor(Math.random() * (sizeMB * MB - rangeBytes))
        return { start, end: start + rangeBytes - 1 }
      }))
      if (round < 0) continue
      results[i]?.sequential.push(sequential)
      results[i]?.random.push(random)
    }
  }
  await plain.close()
  await store.close()
  const [fileSystem, file] = results
  printTable(
    `${sizeMB} MB in pieces of ${pieceLength / MB} MB, all verified: read from beginning to end, and in random ranges of 64 KiB, one after the other; median of ${rounds} rounds.`,
    ['read through', 'whole, GB/s', 'of the file system', 'of a cached file', 'ranges/s', 'of the file system', 'of a cached file'],
    results.map(({ name, sequential, random }) => [
      name,
      (median(sequential) / 1e9).toFixed(2),
      ratio(median(sequential), median(fileSystem?.sequential ?? [])),
      ratio(median(sequential), median(file?.sequential ?? [])),
      (median(random) / rangeBytes).toFixed(0),
      ratio(median(random), median(fileSystem?.random ?? [])),
      ratio(median(random), median(file?.random ?? []))
    ]))
} finally {
  await rm(directory, { recursive: true })
}

/** A store of one torrent with one file of these bytes, every piece of it verified. */
async function filledStore (bytes: Buffer): Promise<PieceStore> {
  const pieces = Array.from({ length: Math.ceil(bytes.length / pieceLength) }, (_, i) => bytes.subarray(i * pieceLength, (i + 1) * pieceLength))
  const metadata = parseMetadata(encode(new Map([['info', new Map<string, string | number | Buffer>([
    ['length', bytes.length],
    ['name', 'movie.mkv'],
    ['piece length', pieceLength],
    ['pieces', Buffer.concat(pieces.map(piece => createHash('sha1').update(piece).digest()))]
  ])]])))
  const store = await PieceStore.open({ metadata, directory: join(directory, 'partial') })
  await store.want(0)
  for (const [i, piece] of pieces.entries()) {
    if (!await store.write(store.geometry.piece(i), piece)) throw new Error(`piece ${i} is refused`)
  }
  await store.flush()
  return store
}

async function consume (chunks: AsyncIterable<Uint8Array>): Promise<number> {
  let count = 0
  for await (const chunk of chunks) {
    count += chunk.length
    recycleChunk(chunk)
  }
  return count
}

async function bytesPerSecond (read: Read, ranges: readonly ByteRange[]): Promise<number> {
  const before = performance.now()
  for (const range of ranges) {
    if (await read(range) !== range.end - range.start + 1) throw new Error('the range came short')
  }
  return ranges.reduce((sum, { start, end }) => sum + end - start + 1, 0) * 1000 / (performance.now() - before)
}
