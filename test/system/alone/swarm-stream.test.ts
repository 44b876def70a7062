import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import t from 'tap'
import { bytesFrom, startApp } from '../../helper.ts'
import { makeTorrent, startDht, startSeeder, startTracker, startTransmission, testBytes, testWith, until } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'
import type { Test } from 'tap'

const p2pOnly = { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false' }
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

/** The whole file and 50 seeded ranges, each compared with the seeder's bytes. */
async function compare (t: Test, stream: string, film: Buffer): Promise<void> {
  const numbers = testBytes(400, 'ranges')
  for (let i = 0; i < 50; i++) {
    const start = numbers.readUInt32BE(i * 8) % film.length
    const end = Math.min(film.length - 1, start + numbers.readUInt32BE(i * 8 + 4) % 300_000)
    const bytes = await bytesFrom(stream, { Range: `bytes=${start}-${end}` })
    if (!film.subarray(start, end + 1).equals(bytes)) t.fail(`bytes=${start}-${end}: ${bytes.length} other bytes`)
  }
  t.pass('50 random ranges are equal')
  t.equal(sha1(await bytesFrom(stream)), sha1(film), 'the whole file is equal')
}

async function filmOf (trackers: readonly string[]): Promise<{ film: Buffer, torrent: TestTorrent }> {
  const film = testBytes(20_000_000, `film ${trackers.length}`)
  return { film, torrent: await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144, trackers }) }
}

testWith(t, 'from a bare infohash and a tracker: a libtorrent seeder', async (t) => {
  const tracker = await startTracker(t)
  const { film, torrent } = await filmOf([tracker.url])
  await startSeeder(t, torrent)
  const { app, url, directory } = await startApp(t, p2pOnly)
  const stream = `${url}/stream/proxy/${torrent.infohash}?tr=${encodeURIComponent(tracker.url)}`
  const head = await fetch(stream, { method: 'HEAD' })
  t.match(Object.fromEntries(head.headers), { 'x-stream-source': 'p2p', 'x-stream-verified': 'true', 'content-length': String(film.length), etag: `"${torrent.infohash}-0"` })
  await compare(t, stream, film)
  await until('it is in the cache', async () => (await readdir(directory)).includes(`${torrent.infohash}-Film.mp4`))
  await until('the record says so', () => app.stored.list().length === 1)
  const cached = await fetch(stream)
  t.equal(cached.headers.get('x-stream-source'), 'cache')
  t.equal(sha1(Buffer.from(await cached.arrayBuffer())), sha1(film))
})

testWith(t, 'with no tracker at all, only a DHT of nodes on loopback', async (t) => {
  const { bootstrap } = await startDht(t, 8)
  const { film, torrent } = await filmOf([])
  await startSeeder(t, torrent, { dht: bootstrap })
  const { url } = await startApp(t, { ...p2pOnly, DHT_BOOTSTRAP: bootstrap.join(',') })
  await compare(t, `${url}/stream/proxy/${torrent.infohash}`, film)
})

testWith(t, 'a Transmission seeder', async (t) => {
  const tracker = await startTracker(t)
  const { film, torrent } = await filmOf([tracker.url])
  await startTransmission(t, torrent)
  await until('Transmission has announced itself', () => tracker.peersOf(torrent.infohash).length > 0)
  const { url } = await startApp(t, { ...p2pOnly, TRACKERS: tracker.url })
  await compare(t, `${url}/stream/proxy/${torrent.infohash}`, film)
})

testWith(t, 'each file of a torrent by its index, whatever it is called', async (t) => {
  const files = { 'a #1?.mkv': testBytes(300_000, 'a'), '100% סרט.mp4': testBytes(700_000, 'b'), 'notes.txt': testBytes(1000, 'c') }
  const torrent = await makeTorrent(files, { name: 'Pack', pieceLength: 32_768 })
  const { address } = await startSeeder(t, torrent)
  const { url } = await startApp(t, { ...p2pOnly, STATIC_PEERS: address })
  t.ok(files['100% סרט.mp4'].equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)), 'the largest video by default')
  for (const [i, bytes] of Object.values(files).entries()) {
    t.ok(bytes.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=${i}`)), `file ${i}`)
  }
})

testWith(t, 'the swarm process is killed in the middle of a response: the response is complete and equal', async (t) => {
  const { film, torrent } = await filmOf([])
  const { address } = await startSeeder(t, torrent, { uploadLimit: 5_000_000 })
  const { app, url } = await startApp(t, { ...p2pOnly, STATIC_PEERS: address })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  const chunks: Uint8Array[] = []
  let received = 0
  let isKilled = false
  for await (const chunk of response.body ?? []) {
    chunks.push(chunk)
    received += chunk.length
    if (received > film.length / 3 && !isKilled) {
      isKilled = true
      process.kill(app.swarm?.pid ?? 0, 'SIGKILL')
    }
  }
  t.ok(isKilled)
  t.equal(sha1(Buffer.concat(chunks)), sha1(film))
})
