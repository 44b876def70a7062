import t from 'tap'
import { urgencies } from '../../../services/pieces/demand.ts'
import { makeTorrent, testBytes } from '../../testnet.ts'
import { startBadPeer } from './bad-peer.ts'
import { attachFromSwarm, sameFiles, startSwarm, verified, wantAll } from './swarm-setup.ts'

t.test('the only peer loses what it was asked for -> it is asked again within seconds', async (t) => {
  const film = await makeTorrent({ 'film.mkv': testBytes(600_000, 'forgetful') }, { pieceLength: 65_536 })
  const peer = await startBadPeer(t, film, 'forgets')
  const swarm = await startSwarm(t)
  const startedAt = performance.now()
  const torrent = swarm.join(film.infohash, { torrent: null, trackers: [], peers: [peer.address], store: null })
  const store = await attachFromSwarm(t, torrent, film)
  wantAll(torrent, store, urgencies.waiting)
  await verified(store)
  const ms = Math.round(performance.now() - startedAt)
  t.ok(ms < 20_000, `${ms} ms`)
  await sameFiles(t, store, film)
  t.equal(peer.counts.wires, 1, 'over the same connection')
})
