import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as fs from 'node:fs/promises'
import { mkdir, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import type { Test } from 'tap'

import { CacheIndex } from '../../../services/cache/cache-index.ts'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { watchFolder } from '../../../services/cache/watch-folder.ts'
import type { WatchFolder } from '../../../services/cache/watch-folder.ts'
import { silent } from '../../../services/log.ts'
import { eventually, infohash, metadataOf, otherInfohash, place } from './fixtures.ts'

const MB = 1_000_000

interface Options {
  readonly watch?: WatchFolder | null
  readonly rescanIntervalMs?: number
  readonly mediaPaths?: readonly string[]
}

async function startIndex (t: Test, directory: string, { watch = watchFolder, rescanIntervalMs = Infinity, mediaPaths = [] }: Options = {}): Promise<{ cache: CacheIndex, stored: StoredFiles }> {
  const stored = await StoredFiles.open({ directory, log: silent })
  const cache = new CacheIndex({ directory, mediaPaths, stored, isCacheOnly: false, log: silent, watch, rescanIntervalMs })
  t.teardown(() => { cache.close() })
  cache.start()
  return { cache, stored }
}

/** An index that has read everything: one lookup of what is nowhere. */
async function readyIndex (t: Test, directory: string, options: Options = {}): Promise<CacheIndex> {
  const { cache } = await startIndex(t, directory, options)
  t.equal(await cache.find('0'.repeat(40), null, null), null)
  return cache
}

async function pathOf (cache: CacheIndex, wanted = infohash): Promise<string | null> {
  return (await cache.find(wanted, null, null))?.path ?? null
}

function hashNumber (i: number): string {
  return i.toString(16).padStart(40, '0')
}

/** `isPrompt`: what changes in a folder is known at the next request, else after the next look at all folders. */
const ways: Array<[how: string, watch: WatchFolder | null, isPrompt: boolean]> = [
  ['with watching', watchFolder, true],
  ['without watching', null, true],
  ['where watches are granted, and report nothing', () => ({ close () {} }), false],
  ['where watching is refused', () => { throw Object.assign(new Error('no space left for watches'), { code: 'ENOSPC' }) }, false]
]

for (const [how, way, isPrompt] of ways) {
  const watch = { watch: way, rescanIntervalMs: isPrompt ? Infinity : 100 }
  const found = async (t: Test, cache: CacheIndex, expected: string | null, why = 'where it is now', wanted = infohash): Promise<void> => {
    if (!isPrompt) await eventually(async () => await pathOf(cache, wanted) === expected)
    t.equal(await pathOf(cache, wanted), expected, why)
  }
  t.test(how, async t => {
    t.test('a file that appears is found at the next request, and one that goes is not offered', async t => {
      const directory = t.testdir()
      const cache = await readyIndex(t, directory, watch)
      for (const path of [`${infohash}.mp4`, `movies/${infohash}.mkv`, `A movie [${infohash}]/movie.avi`]) {
        await found(t, cache, null)
        const placed = await place(directory, path)
        await found(t, cache, placed)
        await rm(placed)
        await found(t, cache, null)
      }
    })

    t.test('also in a folder that was there before, and a media path that was not', async t => {
      const directory = join(t.testdir({ cache: { movies: {}, [infohash]: {} } }), 'cache')
      const media = join(t.testdirName, 'media')
      const cache = await readyIndex(t, directory, { ...watch, mediaPaths: [media] })
      for (const [root, path] of [[directory, `movies/${infohash}.mp4`], [directory, `${infohash}/movie.mp4`], [media, `more/${infohash}.mp4`]] as const) {
        const placed = await place(root, path)
        await found(t, cache, placed)
        await rm(placed)
        await found(t, cache, null)
      }
      await rm(media, { recursive: true })
      await found(t, cache, null)
      const placed = await place(media, `more/${infohash}.mp4`)
      await found(t, cache, placed, 'a directory that was deleted may come back')
    })

    t.test('a file that is renamed is found by its new name only', async t => {
      const directory = t.testdir({ movies: {} })
      const cache = await readyIndex(t, directory, watch)
      let placed = await place(directory, 'movie.mp4')
      await found(t, cache, null)
      for (const name of [`${infohash}.mp4`, `movies/${infohash}.mp4`, `movies/renamed-${infohash}.mp4`, `${infohash}-back.mp4`]) {
        const next = join(directory, name)
        await rename(placed, next)
        placed = next
        await found(t, cache, placed)
      }
      await rename(placed, join(directory, `${otherInfohash}.mp4`))
      await found(t, cache, null)
      await found(t, cache, join(directory, `${otherInfohash}.mp4`), undefined, otherInfohash)
    })

    t.test('a folder is created, filled, renamed, moved out and in again, and removed', async t => {
      const directory = join(t.testdir({ cache: {}, elsewhere: {} }), 'cache')
      const cache = await readyIndex(t, directory, watch)
      await mkdir(join(directory, 'new'))
      await found(t, cache, null)
      await place(directory, 'new/movie.mp4')
      await found(t, cache, null)
      await rename(join(directory, 'new'), join(directory, infohash))
      await found(t, cache, join(directory, infohash, 'movie.mp4'), 'a folder that is named so now')
      await rename(join(directory, infohash), join(directory, otherInfohash))
      await found(t, cache, null)
      await found(t, cache, join(directory, otherInfohash, 'movie.mp4'), undefined, otherInfohash)
      await rename(join(directory, otherInfohash), join(t.testdirName, 'elsewhere', 'folder'))
      await found(t, cache, null, undefined, otherInfohash)
      await place(join(t.testdirName, 'elsewhere'), `folder/${infohash}.mp4`)
      await found(t, cache, null, 'what happens to it out there is nothing to us')
      await rename(join(t.testdirName, 'elsewhere', 'folder'), join(directory, 'back'))
      await found(t, cache, join(directory, 'back', `${infohash}.mp4`))
      await rm(join(directory, 'back'), { recursive: true })
      await found(t, cache, null)
      t.match(cache.counters, { folders: 1, candidates: 0 })
    })

    t.test('a folder in the place of another is another folder, whatever its date', async t => {
      const directory = join(t.testdir({ cache: { movies: {} }, other: {} }), 'cache')
      const other = join(t.testdirName, 'other')
      await place(other, `${infohash}.mp4`)
      const past = new Date('2020-01-01')
      for (const path of [join(directory, 'movies'), other]) await utimes(path, past, past)
      const cache = await readyIndex(t, directory, watch)
      await rm(join(directory, 'movies'), { recursive: true })
      await rename(other, join(directory, 'movies'))
      await found(t, cache, join(directory, 'movies', `${infohash}.mp4`))
    })

    t.test('a link to a folder inside is followed where it leads now', async t => {
      const directory = t.testdir({ deep: { a: {}, b: {} } })
      await place(directory, `deep/a/${infohash}.mp4`)
      await symlink('deep/a', join(directory, 'link'))
      const cache = await readyIndex(t, directory, watch)
      await found(t, cache, join(directory, 'deep/a', `${infohash}.mp4`))
      await unlink(join(directory, 'link'))
      await symlink('deep/b', join(directory, 'link'))
      await found(t, cache, null)
      await place(directory, `deep/b/${infohash}.mp4`)
      await found(t, cache, join(directory, 'deep/b', `${infohash}.mp4`))
    })

    t.test('a larger file, and the file of another index, are noticed though a match is known', async t => {
      const directory = t.testdir({ movies: {} })
      const torrent = metadataOf([['one.mkv', 2 * MB], ['two.mkv', 3 * MB]])
      const cache = await readyIndex(t, directory, watch)
      const one = await place(directory, `${infohash}/one.mkv`, 2 * MB)
      await found(t, cache, one)
      t.equal(await cache.find(infohash, 1, torrent), null)
      const two = await place(directory, `movies/${infohash}.mkv`, 3 * MB)
      if (!isPrompt) await eventually(async () => await cache.find(infohash, 1, torrent) !== null)
      t.match(await cache.find(infohash, 1, torrent), { path: two, fileIndex: 1 })
      t.match(await cache.find(infohash, 0, torrent), { path: one, fileIndex: 0 })
      const larger = await place(directory, `${infohash}.mkv`, 4 * MB)
      await found(t, cache, larger)
      const largest = await place(directory, `${infohash}/remux.mkv`, 5 * MB)
      await found(t, cache, largest)
    })

    t.test('1,000 changes at once are all noticed', async t => {
      const directory = t.testdir({ movies: {} })
      const cache = await readyIndex(t, directory, watch)
      const paths = Array.from({ length: 1000 }, (_, i) => i % 3 === 0 ? `${hashNumber(i)}.mp4` : i % 3 === 1 ? `movies/${hashNumber(i)}.mp4` : `${i}/${hashNumber(i)}.mp4`)
      await Promise.all(paths.map(async path => await place(directory, path)))
      t.same((await cache.list()).map(({ infohash }) => infohash).sort(), paths.map((_, i) => hashNumber(i)))
      await Promise.all(paths.map(async (path, i) => { if (i % 2 === 0) await rm(join(directory, path)) }))
      const left = await Promise.all(paths.map(async (_, i) => await pathOf(cache, hashNumber(i))))
      t.same(left, paths.map((path, i) => i % 2 === 0 ? null : join(directory, path)))
      await Promise.all(paths.map(async path => { await rm(join(directory, path), { force: true }) }))
      t.same(await cache.list(), [])
      t.equal(cache.counters.candidates, 0)
    })

    t.test('requests at the same time are each answered by what was there before them', async t => {
      const directory = t.testdir({ movies: {} })
      const cache = await readyIndex(t, directory, watch)
      const answers = []
      for (let i = 0; i < 50; i++) {
        const path = await place(directory, `movies/${hashNumber(i)}.mp4`)
        answers.push(found(t, cache, path, undefined, hashNumber(i)))
      }
      await Promise.all(answers)
    })
  })
}

t.test('changes are noticed before anybody asks', async t => {
  for (const [how, options] of [['by watching', { rescanIntervalMs: Infinity }], ['by looking now and then', { watch: null, rescanIntervalMs: 50 }]] as const) {
    t.test(how, async t => {
      const directory = t.testdir({ movies: {} })
      const cache = await readyIndex(t, directory, options)
      const comesTo = async (expected: object): Promise<void> => {
        await eventually(async () => Object.entries(expected).every(([key, value]) => Object.entries(cache.counters).some(([name, count]) => name === key && count === value)))
      }
      await comesTo({ folders: 2, candidates: 0 })
      await place(directory, `${infohash}.mp4`)
      await comesTo({ candidates: 1 })
      await place(directory, `movies/${infohash}.mp4`)
      await comesTo({ candidates: 2 })
      await place(directory, `new ${infohash}/movie.mp4`)
      await comesTo({ folders: 3, candidates: 3 })
      await rm(join(directory, 'movies'), { recursive: true })
      await comesTo({ folders: 2, candidates: 2 })
      await rm(join(directory, `${infohash}.mp4`))
      await comesTo({ candidates: 1 })
      t.pass('nobody asked')
    })
  }
})

t.test('a watch that breaks is begun anew at the next look, and nothing is missed meanwhile', async t => {
  const directory = t.testdir({ movies: {} })
  const breaking: Array<() => void> = []
  const cache = await readyIndex(t, directory, {
    rescanIntervalMs: 100,
    watch (path, onChange, onError) {
      const watch = watchFolder(path, onChange, onError)
      breaking.push(() => { onError(new Error('the queue is gone')) })
      return watch
    }
  })
  await eventually(async () => cache.counters.watches === 2)
  for (const breakOne of breaking.splice(0)) breakOne()
  t.equal(cache.counters.watches, 0)
  const placed = await place(directory, `movies/${infohash}.mp4`)
  await eventually(async () => await pathOf(cache) === placed)
  await eventually(async () => cache.counters.watches === 2)
  await place(directory, `movies/${otherInfohash}.mp4`)
  await eventually(async () => cache.counters.candidates === 2)
})

t.test('a watch that is refused for now is granted at a later look', async t => {
  const directory = t.testdir({ movies: {} })
  let isRefused = true
  const cache = await readyIndex(t, directory, {
    rescanIntervalMs: 50,
    watch (...args) {
      if (isRefused) throw Object.assign(new Error('too many watches'), { code: 'ENOSPC' })
      return watchFolder(...args)
    }
  })
  t.equal(cache.counters.watches, 0)
  isRefused = false
  await eventually(async () => cache.counters.watches === 2)
})

t.test('what is closed watches nothing, waits for nothing, and still answers', async t => {
  const directory = t.testdir({ movies: {} })
  let open = 0
  const cache = await readyIndex(t, directory, {
    watch (...args) {
      const watch = watchFolder(...args)
      open++
      return {
        close () {
          open--
          watch.close()
        }
      }
    }
  })
  t.equal(open, 2)
  cache.close()
  t.equal(open, 0)
  t.equal(cache.counters.watches, 0)
  const placed = await place(directory, `new/${infohash}.mp4`)
  t.equal(await pathOf(cache), placed)
  t.equal(open, 0)
})

t.test('no more than 4,000 folders are watched, and the others are looked at once a second', async t => {
  const directory = t.testdir()
  for (let i = 0; i < 4100; i++) await mkdir(join(directory, String(i)))
  const cache = await readyIndex(t, directory)
  t.same(cache.counters, { folders: 4101, candidates: 0, watches: 4000 })
  for (let folder = 0; folder < 4100; folder += 410) {
    const placed = await place(directory, `${folder}/${infohash}.mp4`)
    await eventually(async () => await pathOf(cache) === placed)
    await rm(placed)
    t.equal(await pathOf(cache), null)
  }
})

t.test('a lookup that finds nothing reads no folder that is watched', async t => {
  const directory = t.testdir()
  for (let i = 0; i < 500; i++) await mkdir(join(directory, String(i)))
  const looked = new Set<string>()
  const { CacheIndex } = await t.mockImport<typeof import('../../../services/cache/cache-index.ts')>('../../../services/cache/cache-index.ts', {
    'node:fs/promises': {
      ...fs,
      stat: async (path: string, options: { bigint: true }) => {
        looked.add(path)
        return await fs.stat(path, options)
      }
    }
  })
  const stored = await StoredFiles.open({ directory, log: silent })
  const cache = new CacheIndex({ directory, mediaPaths: [], stored, isCacheOnly: false, log: silent, rescanIntervalMs: Infinity })
  t.teardown(() => { cache.close() })
  cache.start()
  t.equal(await cache.find(infohash, null, null), null)
  t.equal(looked.size, 501)
  // Resolves when what was begun at the start is over, too.
  await cache.list()
  looked.clear()
  for (let i = 0; i < 20; i++) t.equal(await cache.find(hashNumber(i), null, null), null)
  t.same([...looked], [directory])
  const placed = await place(directory, `77/${infohash}.mp4`)
  t.match(await cache.find(infohash, null, null), { path: placed })
  t.same([...looked].sort(), [directory, join(directory, '77')])
})

t.test('a start with 10,000 placed files does not delay the first lookup of a stored one', async t => {
  const directory = t.testdir()
  const name = `${infohash}-movie.mkv`
  await place(directory, name, 5000)
  const before = await StoredFiles.open({ directory, log: silent })
  await before.add({ infohash, fileIndex: 0, path: name, lengthBytes: 5000, name: 'movie.mkv', isDefault: true })
  await before.close()
  const files = Array.from({ length: 10_000 }, (_, i) => i)
  for (let i = 0; i < files.length; i += 500) {
    await Promise.all(files.slice(i, i + 500).map(async i => { await writeFile(join(directory, `${hashNumber(i)}.mp4`), '') }))
  }
  const { cache } = await startIndex(t, directory)
  t.match(await cache.find(infohash, null, null), { isStored: true })
  t.equal(cache.counters.candidates, 0, 'the placed files are not even read yet')
  await cache.find(hashNumber(5), null, null)
  t.equal(cache.counters.candidates, 10_001)
})

t.test('a directory that never answers does not hide what is known, nor hold a lookup for ever', async t => {
  const directory = join(t.testdir(), 'cache')
  const hanging = join(t.testdirName, 'hanging')
  let isHanging = false
  const { PlacedIndex } = await t.mockImport<typeof import('../../../services/cache/placed-index.ts')>('../../../services/cache/placed-index.ts', {
    'node:fs/promises': {
      ...fs,
      realpath: async (path: string) => {
        if (isHanging && path === hanging) await new Promise(() => {})
        return await fs.realpath(path)
      }
    }
  })
  const index = new PlacedIndex({ directories: [directory, hanging], log: silent, watch: null })
  const { signal } = new AbortController()
  await place(directory, `${infohash}.mp4`)
  t.match(await index.near(infohash, signal), [{ name: `${infohash}.mp4` }])
  isHanging = true
  await t.rejects(index.near(infohash, AbortSignal.timeout(20)), { name: 'TimeoutError' })
  t.match(await index.near(infohash, signal), [{ name: `${infohash}.mp4` }])
  await place(directory, `movies/${otherInfohash}.mp4`)
  t.match(await index.everywhere(otherInfohash, signal), [{ name: `${otherInfohash}.mp4` }], 'nor what comes while it hangs')
  const before = performance.now()
  await index.near(infohash, signal)
  t.ok(performance.now() - before < 2000, 'once it is known to hang, nobody waits for it long')
})

t.test('of a longer run of digits each infohash in it is found, and list names none', async t => {
  const directory = t.testdir()
  const path = await place(directory, `${infohash}${otherInfohash}.mp4`)
  const cache = await readyIndex(t, directory)
  t.equal(await pathOf(cache), path)
  t.equal(await pathOf(cache, otherInfohash), path)
  t.equal(await pathOf(cache, `${infohash}${otherInfohash}`.slice(7, 47)), path)
  t.same(await cache.list(), [])
})

t.test('an index keeps no process alive', async t => {
  const directory = t.testdir({ movies: {} })
  const script = `
    import { CacheIndex } from ${JSON.stringify(new URL('../../../services/cache/cache-index.ts', import.meta.url).href)}
    import { StoredFiles } from ${JSON.stringify(new URL('../../../services/cache/stored-files.ts', import.meta.url).href)}
    const log = { debug () {}, info () {}, warn () {}, error () {} }
    const [directory] = process.argv.slice(1)
    const cache = new CacheIndex({ directory, mediaPaths: [], stored: await StoredFiles.open({ directory, log }), isCacheOnly: true, log })
    cache.start()
    await cache.find('${infohash}', null, null)
    console.log(cache.counters.watches)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => { child.kill() })
  let output = ''
  child.stdout.on('data', text => { output += text })
  const [code] = await once(child, 'close')
  t.equal(code, 0)
  t.equal(output, '2\n')
})
