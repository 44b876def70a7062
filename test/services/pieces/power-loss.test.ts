import { open, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { amount, seedOf, tellFigure } from '../../soak.ts'
import { FailingDisk } from './failing-disk.ts'
import { losePower } from './power-loss.ts'
import { ownDirectory, seededRandom } from './torrent.ts'

const lives = amount('SOAK_POWER_LIVES', 16)
const isSoak = lives > 16
const seen = () => open
const real = open

t.test('a kill loses nothing that had ended, whatever else was under way', async t => {
  const root = ownDirectory(t)
  let goOn = () => {}
  let isSlow = false
  const disk = await FailingDisk.begin(root, undefined, async () => {
    if (isSlow) await new Promise<void>(resolve => { goOn = resolve })
  })
  t.teardown(() => disk.stop())
  for (const name of ['slow', 'quick']) await writeFile(join(root, name), name)
  isSlow = true
  const slow = rename(join(root, 'slow'), join(root, 'slow, renamed'))
  isSlow = false
  await rename(join(root, 'quick'), join(root, 'quick, renamed'))
  const moment = disk.now
  goOn()
  await slow
  await disk.end()
  const names = Array.from({ length: 100 }, (_, seed) => [...disk.stateAt(moment, 'killed', seededRandom(seed)).files.keys()].sort().join('; '))
  t.same([...new Set(names)].sort(), ['quick, renamed; slow', 'quick, renamed; slow, renamed'])
  t.equal(seen(), real, 'and when nothing is recorded, files are what they were')
})

t.test('a file that is opened while it gets another name is that file', async t => {
  const root = ownDirectory(t)
  const disk = await FailingDisk.begin(root)
  t.teardown(() => disk.stop())
  for (let i = 0; i < 100; i++) {
    const path = join(root, `${i}`)
    await writeFile(path, 'before')
    const [handle] = await Promise.all([open(path, 'r+').catch(() => null), rename(path, `${path}, renamed`)])
    await handle?.write(Buffer.from('after '), 0, 6, 0)
    await handle?.close()
  }
  await disk.end()
  t.equal(disk.stateAt(disk.now, 'killed', () => 0).files.size, 100)
})

t.test('a disk that fails at any moment, with what was not synced lost at random, opens to what was promised', { timeout: 60_000 + lives * 60_000 }, async t => {
  const counts = await losePower({ directory: ownDirectory(t), seed: seedOf(t), lives, failures: isSoak ? 'all' : 25 })
  tellFigure(t, 'power loss: operations recorded', counts.operations)
  tellFigure(t, 'power loss: moments looked at', counts.failures)
  tellFigure(t, 'power loss: pieces compared', counts.pieces)
  t.equal(counts.lives, lives)
  t.ok(counts.believed > 0, `${counts.believed} of ${counts.pieces} pieces were believed without a hash`)
  tellFigure(t, 'power loss: promised pieces, all there', counts.promised)
  t.ok(counts.promised > 0, `${counts.promised} pieces were promised`)
})
