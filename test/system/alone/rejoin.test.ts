import t from 'tap'
import { readChecked } from '../../checked-read.ts'
import { startApp } from '../../helper.ts'
import { makeTorrent, startSeeder, testBytes, testWith } from '../../testnet.ts'

const film = testBytes(3_000_011, 'rejoin')

for (const transport of ['tcp', 'both'] as const) {
  testWith(t, `a torrent is deleted and asked for again at once, over ${transport} -> it plays each time`, async (t) => {
    const torrent = await makeTorrent({ 'film.mkv': film }, { pieceLength: 65_536 })
    const { address } = await startSeeder(t, torrent, { transport, uploadLimit: 4_000_000 })
    const { url } = await startApp(t, { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: address })
    for (let i = 0; i < 4; i++) {
      const startedAt = performance.now()
      const head = readChecked(`${url}/stream/proxy/${torrent.infohash}`, film, { start: 0, end: 65_535, signal: AbortSignal.timeout(30_000) })
      await t.resolves(head, `time ${i + 1}: the head of the film comes`)
      const ms = Math.round(performance.now() - startedAt)
      t.ok(ms < 10_000, `time ${i + 1}: after ${ms} ms`)
      await fetch(`${url}/api/torrents/${torrent.infohash}?deleteFiles=true`, { method: 'DELETE' })
    }
  })
}
