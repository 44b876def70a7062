import t from 'tap'
import { testSource } from '../contracts/source.ts'
import { startApp } from '../helper.ts'
import { makeTorrent, startSeeder, testBytes } from '../testnet.ts'

const content = testBytes(1_234_567, 'contract')

testSource(t, 'p2p, from libtorrent', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': content })
  const { address } = await startSeeder(t, torrent)
  const { app } = await startApp(t, { ENABLE_MOCK: 'false', ENABLE_HTTP_FALLBACK: 'false', ENABLE_P2P: 'true', STATIC_PEERS: address })
  return { sources: app.sources, name: 'p2p', infohash: torrent.infohash, content, isVerified: true, isLocal: false }
})
