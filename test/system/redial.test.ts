import t from 'tap'
import { readChecked } from '../checked-read.ts'
import { startApp } from '../helper.ts'
import { makeTorrent, startSeederOf, testBytes, testWith, writeContent } from '../testnet.ts'

const film = testBytes(3_000_000, 'redial')

for (const transport of ['tcp', 'utp'] as const) {
  testWith(t, `the only peer, over ${transport}, is killed and started again on its port -> the stream goes on within seconds`, async (t) => {
    const torrent = await makeTorrent({ 'film.mkv': film }, { pieceLength: 65_536 })
    const content = await writeContent(t, torrent)
    const first = await startSeederOf(t, content, { transport, uploadLimit: 500_000 })
    const { url } = await startApp(t, { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: first.address })
    let received = 0
    let restarted: Promise<number> | null = null
    let backAt = 0
    const restart = async (): Promise<number> => {
      process.kill(first.pid, 'SIGKILL')
      await first.stop()
      const port = Number(first.address.split(':').at(-1))
      await startSeederOf(t, content, { transport, port })
      return performance.now()
    }
    let atRestart = Infinity
    await readChecked(`${url}/stream/proxy/${torrent.infohash}`, film, {
      start: 0,
      end: film.length - 1,
      signal: AbortSignal.timeout(50_000),
      onBytes: (count) => {
        received += count
        if (received > 500_000 && restarted === null) {
          restarted = restart()
          restarted.then((at) => { atRestart = at }, () => {})
        }
        if (backAt === 0 && performance.now() > atRestart) backAt = performance.now()
      }
    })
    t.equal(received, film.length)
    const waitedMs = Math.round(backAt - atRestart)
    t.ok(backAt > 0 && waitedMs < 8_000, `it goes on ${waitedMs} ms after the peer is back`)
  }, 70_000)
}
