import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

import { silent } from '../../../services/log.ts'

/** A listing of a folder on a disk that tells the same times for ever, and a clock that stands until it is set. */
async function listingOf (t: Test, path: string): Promise<{ namesAfterCheck: () => Promise<string[]>, markDirty: () => void, reads: () => number, clock: { now: number } }> {
  const { FolderListing } = await t.mockImport<typeof import('../../../services/cache/folder-listing.ts')>('../../../services/cache/folder-listing.ts', {
    'node:fs/promises': {
      ...fs,
      stat: async (path: string) => Object.assign(await fs.stat(path, { bigint: true }), { mtimeNs: 1n, ctimeNs: 1n })
    }
  })
  const clock = { now: 0 }
  t.intercept(performance, 'now', { value: () => clock.now })
  let names: string[] = []
  let reads = 0
  const listing = new FolderListing({
    path,
    linkInside: null,
    log: silent,
    watch: () => null,
    onEntries (entries) {
      reads++
      names = entries.map(({ name }) => name).sort()
    }
  })
  return {
    clock,
    reads: () => reads,
    markDirty: () => { listing.markDirty() },
    async namesAfterCheck () {
      await listing.check()
      return names
    }
  }
}

t.test('within the tick of a file system\'s clock a folder is read each time; then its times are believed', async t => {
  const path = t.testdir({ one: '' })
  const { namesAfterCheck, reads, clock } = await listingOf(t, path)
  t.same(await namesAfterCheck(), ['one'])
  await fs.writeFile(join(path, 'two'), '')
  clock.now = 1999
  t.same(await namesAfterCheck(), ['one', 'two'], 'the time of the folder is the same as before')
  clock.now = 2000
  await namesAfterCheck()
  t.equal(reads(), 3)
  clock.now = 100_000
  for (let i = 0; i < 5; i++) await namesAfterCheck()
  t.equal(reads(), 3, 'nothing is read any more')
})

t.test('on a disk whose times tell nothing a folder is read when it is said to have changed', async t => {
  const path = t.testdir({ one: '' })
  const { namesAfterCheck, markDirty, clock } = await listingOf(t, path)
  for (clock.now of [0, 5000]) t.same(await namesAfterCheck(), ['one'])
  await fs.writeFile(join(path, 'two'), '')
  t.same(await namesAfterCheck(), ['one'])
  markDirty()
  t.same(await namesAfterCheck(), ['one', 'two'])
})

t.test('a folder that is gone holds nothing, and is read when it is back', async t => {
  const path = join(t.testdir({ folder: { one: '' } }), 'folder')
  const { namesAfterCheck, clock } = await listingOf(t, path)
  for (clock.now of [0, 5000]) t.same(await namesAfterCheck(), ['one'])
  await fs.rename(path, `${path}-away`)
  t.same(await namesAfterCheck(), [])
  await fs.rename(`${path}-away`, path)
  t.same(await namesAfterCheck(), ['one'])
})
