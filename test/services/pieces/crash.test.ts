import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { allChecked, checkClaims, claimed, kept, ownDirectory, randomTorrent, seededRandom } from './torrent.ts'

t.test('a store that is killed at any moment claims nothing that it does not hold, and has all that it held', async t => {
  const seed = Date.now() % 1e6
  t.comment(`seed ${seed}`)
  const random = seededRandom(seed)
  const directory = ownDirectory(t)
  let survivors = 0
  for (let life = 0; life < 4; life++) {
    const torrent = randomTorrent(seededRandom(seed + life))
    const at = join(directory, `${life}`)
    for (let death = 0; death < 4; death++) {
      const child = fork(join(import.meta.dirname, 'killed-writer.ts'), [at, `${seed + life}`, `${random(1e9)}`], { execArgv: [] })
      t.teardown(() => child.kill('SIGKILL'))
      const written: number[] = []
      child.on('message', (message: unknown) => { if (typeof message === 'number') written.push(message) })
      await once(child, 'message')
      // The moment of death is what is random here; nothing is waited for.
      await pause(random(60))
      child.kill('SIGKILL')
      // Not before all that it said has come.
      await once(child, 'disconnect')
      const store = await PieceStore.open({ metadata: torrent.metadata, directory: at })
      await checkClaims(t, store, torrent, `seed ${seed}, life ${life}, death ${death}`)
      await allChecked(store)
      await checkClaims(t, store, torrent, `seed ${seed}, life ${life}, death ${death}, checked`)
      const missing = kept(store, written).filter(index => !store.has(store.geometry.piece(index)))
      if (missing.length > 0) t.fail(`seed ${seed}, life ${life}, death ${death}: ${missing} would be fetched again`)
      survivors += claimed(store).length
      await store.close()
    }
  }
  t.ok(survivors > 0, `${survivors} pieces survived`)
})
