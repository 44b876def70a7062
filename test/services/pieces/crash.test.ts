import { fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { checkClaims, claimed, ownDirectory, randomTorrent, seededRandom } from './torrent.ts'

t.test('a store that is killed at any moment claims nothing that it does not hold, and goes on from there', async t => {
  const seed = Date.now() % 1e6
  t.comment(`seed ${seed}`)
  const random = seededRandom(seed)
  const directory = ownDirectory(t)
  let kept = 0
  for (let life = 0; life < 4; life++) {
    const torrent = randomTorrent(seededRandom(seed + life))
    const at = join(directory, `${life}`)
    for (let death = 0; death < 4; death++) {
      const child = fork(join(import.meta.dirname, 'killed-writer.ts'), [at, `${seed + life}`, `${random(1e9)}`], { execArgv: [] })
      t.teardown(() => child.kill('SIGKILL'))
      await once(child, 'message')
      // The moment of death is what is random here; nothing is waited for.
      await pause(random(60))
      child.kill('SIGKILL')
      await once(child, 'exit')
      const store = await PieceStore.open({ metadata: torrent.metadata, directory: at })
      await checkClaims(t, store, torrent, `seed ${seed}, life ${life}, death ${death}`)
      kept += claimed(store).length
      await store.close()
    }
  }
  t.ok(kept > 0, `${kept} pieces survived`)
})
