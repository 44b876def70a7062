import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, startApp } from '../../helper.ts'
import { makeTorrent, startSeeder, testBytes, testWith, until } from '../../testnet.ts'

const MB = 1_000_000

/** Bytes of all files below, by st_size, as a panel counts. */
function bytesBelow (directory: string): number {
  let bytes = 0
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    if (entry.isFile()) bytes += statSync(join(entry.parentPath, entry.name), { throwIfNoEntry: false })?.size ?? 0
  }
  return bytes
}

for (const accounting of ['apparent', 'allocated']) {
  testWith(t, `a film of 100 MB from a libtorrent seeder plays through a cache of 32 MB (${accounting}), and the seeder stays connected while pieces are dropped`, async (t) => {
    const film = testBytes(100 * MB, 'film')
    const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 1 << 20 })
    const seeder = await startSeeder(t, torrent)
    const { url, directory } = await startApp(t, {
      ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: seeder.address, CACHE_MAX_DISK_MB: '32', CACHE_MIN_FREE_MB: '0', CACHE_ACCOUNTING: accounting
    })
    let mostBytes = 0
    let fewestPeers = Infinity
    const address = `${url}/stream/proxy/${torrent.infohash}`
    const response = await fetch(address)
    t.equal(response.headers.get('x-stream-source'), 'p2p')
    const timer = setInterval(() => {
      // A file that goes away between two looks into one directory is no finding.
      try { mostBytes = Math.max(mostBytes, bytesBelow(directory)) } catch {}
    }, 20)
    t.teardown(() => { clearInterval(timer) })
    const parts: Uint8Array[] = []
    for await (const part of response.body ?? []) {
      parts.push(part)
      if (parts.length % 100 === 0) fewestPeers = Math.min(fewestPeers, (await seeder.counts()).peers)
    }
    t.ok(film.equals(Buffer.concat(parts)))
    t.equal(fewestPeers, 1)
    for (const start of [10 * MB, 90 * MB, 0]) {
      t.ok(film.subarray(start, start + 5 * MB).equals(await bytesFrom(address, { Range: `bytes=${start}-${start + 5 * MB - 1}` })), `back to ${start}`)
    }
    t.equal((await seeder.counts()).peers, 1)
    t.ok(mostBytes > 2 * MB && mostBytes <= 32 * MB, `${mostBytes} bytes at most`)
    const edges = join(directory, '.self-streme', 'partial', torrent.infohash, 'edges')
    await until('nothing of the window is left', () => readdirSync(edges).length === 0)
  })
}
