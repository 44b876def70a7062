import t from 'tap'
import type { Test } from 'tap'
import type { Wire } from 'webtorrent'
import { urgencies } from '../../../services/pieces/demand.ts'
import { bytesFrom, jsonFrom, startApp } from '../../helper.ts'
import { tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, startSeederOf, testBytes, testWith, until, writeContent } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'
import { startBadPeer } from '../../services/swarm/bad-peer.ts'
import { openStore, startSwarm, verified } from '../../services/swarm/swarm-setup.ts'
import { startSeed } from '../../services/swarm/webtorrent-seed.ts'

const p2pOnly = { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false' }
const MB = 1_000_000

testWith(t, 'a reader that jumps takes back hundreds of requests, and keeps its only peer', async (t) => {
  const torrent = await makeTorrent({ 'film.mkv': testBytes(40 * MB, 'jump') }, { pieceLength: 1_048_576 })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 4 * MB })
  const swarm = await startSwarm(t)
  const store = await openStore(t, torrent)
  const piece = (index: number) => store.geometry.piece(index)
  const swarmTorrent = swarm.join(torrent.infohash, { torrent: torrent.torrent, trackers: [], peers: [seeder.address], store })
  const want = swarmTorrent.demand.open()
  for (const start of [0, 20, 10]) {
    want.set([{ first: piece(start), last: piece(start), urgency: urgencies.waiting }, { first: piece(start + 1), last: piece(start + 9), urgency: urgencies.readAhead }])
    await verified(store, [start, start + 1])
  }
  await until('it is still there', () => swarmTorrent.stats.peersConnected === 1)
})

/** How long a reader waits in a swarm of these peers: for its first byte, for so many, and after a jump. Compares the bytes. */
async function waits (t: Test, torrent: TestTorrent, peers: readonly string[], bytes: number): Promise<{ first: number, all: number, jump: number }> {
  const film = torrent.files[0]?.bytes ?? Buffer.alloc(0)
  const { app, url } = await startApp(t, { ...p2pOnly, STATIC_PEERS: peers.join(',') })
  const stream = `${url}/stream/proxy/${torrent.infohash}`
  await app.swarm?.ready(AbortSignal.timeout(30_000))
  const readFrom = async (start: number, length: number): Promise<{ first: number, all: number }> => {
    const before = performance.now()
    const response = await fetch(stream, { headers: { range: `bytes=${start}-${start + length - 1}` } })
    let first = 0
    const chunks: Uint8Array[] = []
    for await (const chunk of response.body ?? []) {
      if (chunks.length === 0) first = performance.now() - before
      chunks.push(chunk)
    }
    t.ok(Buffer.concat(chunks).equals(film.subarray(start, start + length)), `${length} bytes from ${start} on are the seeder's`)
    return { first, all: performance.now() - before }
  }
  const begin = await readFrom(0, bytes)
  const jump = await readFrom(film.length - 2 * bytes, MB)
  await app.close()
  return { ...begin, jump: jump.first }
}

for (const [pieceLength, filmBytes, readBytes] of [[524_288, 48 * MB, 12 * MB], [16_777_216, 70 * MB, 4 * MB]] as const) {
  testWith(t, `one fast peer, three at 20 kB/s and one that sends nothing; pieces of ${pieceLength / 1_048_576} MiB -> as if the fast one were alone`, async (t) => {
    const torrent = await makeTorrent({ 'film.mkv': testBytes(filmBytes, 'mixed') }, { pieceLength })
    const content = await writeContent(t, torrent)
    const fast = await startSeederOf(t, content, { uploadLimit: 5 * MB })
    const slow = await Promise.all([1, 2, 3].map(async () => await startSeederOf(t, content, { uploadLimit: 20_000 })))
    const silent = await startBadPeer(t, torrent, 'stalls')
    const others = [...slow.map(({ address }) => address), silent.address]
    const alone = await waits(t, torrent, [fast.address], readBytes)
    const mixed = await waits(t, torrent, [...others, fast.address], readBytes)
    for (const what of ['first', 'all', 'jump'] as const) {
      tellFigure(t, `picking, pieces of ${pieceLength / 1_048_576} MiB: ${what}, of that with the fast peer alone`, `${(mixed[what] / alone[what]).toFixed(2)} (${Math.round(mixed[what])} of ${Math.round(alone[what])} ms)`)
      t.ok(mixed[what] < 2 * alone[what] + 2_500, `${what}: ${Math.round(mixed[what])} ms, alone ${Math.round(alone[what])} ms`)
    }
    t.ok(silent.counts.requests > 0, 'the silent one was asked, too')
  })
}

testWith(t, 'a fast peer that falls silent in the middle of a piece -> its blocks are asked of others at once', async (t) => {
  const film = testBytes(30 * MB, 'silent')
  const torrent = await makeTorrent({ 'film.mkv': film }, { pieceLength: 4_194_304 })
  const content = await writeContent(t, torrent)
  const fast = await startSeederOf(t, content, { uploadLimit: 6 * MB })
  const other = await startSeederOf(t, content, { uploadLimit: 4 * MB })
  const { url } = await startApp(t, { ...p2pOnly, STATIC_PEERS: `${fast.address},${other.address}` })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  const chunks: Uint8Array[] = []
  let received = 0
  let longestMs = 0
  let isSilent = false
  let lastAt = performance.now()
  for await (const chunk of response.body ?? []) {
    if (isSilent) longestMs = Math.max(longestMs, performance.now() - lastAt)
    lastAt = performance.now()
    chunks.push(chunk)
    received += chunk.length
    if (received > 8 * MB && !isSilent) {
      isSilent = true
      process.kill(fast.pid, 'SIGSTOP')
    }
  }
  t.ok(isSilent)
  t.ok(Buffer.concat(chunks).equals(film))
  tellFigure(t, 'picking: longest wait after the fast peer of two fell silent, pieces of 4 MiB, ms', Math.round(longestMs))
  // WebTorrent asks again after 30 s.
  t.ok(longestMs < 12_000, `${Math.round(longestMs)} ms`)
})

testWith(t, 'a torrent that somebody added comes with head and tail first, and is whole in the end', async (t) => {
  const film = testBytes(12 * MB, 'added')
  const torrent = await makeTorrent({ 'film.mkv': film }, { pieceLength: 262_144 })
  const seed = await startSeed(t, torrent, { utp: false, uploadLimit: 4 * MB })
  const asked: number[] = []
  seed.torrent.on('wire', (wire: Wire) => { wire.on('request', (piece: number) => { if (!asked.includes(piece)) asked.push(piece) }) })
  const { url } = await startApp(t, { ...p2pOnly, STATIC_PEERS: seed.address })
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  await until('it is cached', async () => (await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)).body.data.cached === true)
  t.equal(asked.length, 46, 'each piece once')
  t.same(asked.slice(0, 9).sort((a, b) => a - b), [0, 1, 2, 3, 41, 42, 43, 44, 45], 'the first MiB and the last one')
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
})
