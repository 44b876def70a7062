import t from 'tap'
import { makeTorrent, startSeeder, testBytes, testWith } from '../testnet.ts'
import { attachFromSwarm, sameFiles, startSwarm, verified, wantAll } from '../services/swarm/swarm-setup.ts'

/** Message stream encryption (MSE) with libtorrent, which may insist on it or refuse it. */

const content = testBytes(2_000_001, 'encryption')

for (const encryption of ['forced', 'off'] as const) {
  for (const transport of ['tcp', 'utp'] as const) {
    for (const dialler of ['we', 'they'] as const) {
      testWith(t, `libtorrent with encryption ${encryption} over ${transport}, ${dialler} dial -> the whole file`, async (t) => {
        const torrent = await makeTorrent({ 'film.mkv': content }, { pieceLength: 65_536 })
        const swarm = await startSwarm(t)
        const { ports } = swarm.network
        if (transport === 'utp' && ports.utp === null) {
          t.pass('no uTP on this machine', { skip: 'no uTP on this machine' })
          return
        }
        const seeder = await startSeeder(t, torrent, { encryption, transport, ...(dialler === 'we' ? { isPassive: true } : { peers: [`127.0.0.1:${ports.tcp}`] }) })
        const swarmTorrent = swarm.join(torrent.infohash, { torrent: null, trackers: [], peers: dialler === 'we' ? [seeder.address] : [], store: null })
        const startedAt = performance.now()
        const store = await attachFromSwarm(t, swarmTorrent, torrent)
        wantAll(swarmTorrent, store)
        await verified(store)
        t.comment(`${Math.round(performance.now() - startedAt)} ms`)
        await sameFiles(t, store, torrent)
      }, 60_000)
    }
  }
}
