import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, open, readFile, readdir, rename, stat, symlink, truncate, unlink, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'

import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { silent } from '../../../services/log.ts'
import { infohash, otherInfohash, place, warningsOf } from './fixtures.ts'

const recordIn = (directory: string): string => join(directory, '.self-streme', 'stored.json')
const movie = { infohash, fileIndex: 1, path: `${infohash}-movie.mkv`, lengthBytes: 5000, name: 'movie.mkv', isDefault: true }
const subtitles = { infohash, fileIndex: 0, path: `${infohash}-movie.srt`, lengthBytes: 20, name: 'movie.srt', isDefault: false }

async function writeRecord (directory: string, text: string): Promise<void> {
  await mkdir(join(directory, '.self-streme'), { recursive: true })
  await writeFile(recordIn(directory), text)
}

t.test('what was stored is found by its index, and the default file without one, also after a restart', async t => {
  const directory = t.testdir()
  const first = await StoredFiles.open({ directory, log: silent })
  t.same(first.list(), [])
  for (const file of [movie, subtitles]) {
    await place(directory, file.path, file.lengthBytes)
    await first.add(file)
  }
  await first.close()
  for (const stored of [first, await StoredFiles.open({ directory, log: silent })]) {
    t.match(await stored.find(infohash, 1), movie)
    t.match(await stored.find(infohash, 0), subtitles)
    t.match(await stored.find(infohash, null), movie)
    t.equal(await stored.find(infohash, 2), null)
    t.equal(await stored.find(otherInfohash, null), null)
    t.equal(stored.list().length, 2)
    t.ok(stored.list().every(({ storedAt }) => Math.abs(Date.now() - Date.parse(storedAt)) < 60_000))
  }
})

t.test('a torrent whose default file is not stored has none without an index', async t => {
  const directory = t.testdir()
  const stored = await StoredFiles.open({ directory, log: silent })
  await place(directory, subtitles.path, subtitles.lengthBytes)
  await stored.add(subtitles)
  t.equal(await stored.find(infohash, null), null)
})

t.test('a file stored again replaces its entry', async t => {
  const directory = t.testdir()
  const stored = await StoredFiles.open({ directory, log: silent })
  for (const path of [movie.path, 'moved.mkv']) {
    await place(directory, path, movie.lengthBytes)
    await stored.add({ ...movie, path })
  }
  t.same(stored.list().map(({ path }) => path), ['moved.mkv'])
})

t.test('what is removed is forgotten, and its files stay', async t => {
  const directory = t.testdir()
  const stored = await StoredFiles.open({ directory, log: silent })
  const other = { ...movie, infohash: otherInfohash, path: 'other.mkv' }
  for (const file of [movie, subtitles, other]) {
    await place(directory, file.path, file.lengthBytes)
    await stored.add(file)
  }
  await stored.remove(infohash)
  await stored.remove(infohash)
  t.equal(await stored.find(infohash, 1), null)
  const again = await StoredFiles.open({ directory, log: silent })
  t.same(again.list().map(({ path }) => path), ['other.mkv'])
  t.same((await readdir(directory)).sort(), ['.self-streme', movie.path, subtitles.path, 'other.mkv'].sort())
})

t.test('a file that is moved to its place is known there, whenever the process ends', async t => {
  const directory = t.testdir()
  const from = join(directory, '.self-streme', '1.part')
  const to = join(directory, movie.path)
  await place(directory, join('.self-streme', '1.part'), movie.lengthBytes)
  const first = await StoredFiles.open({ directory, log: silent })
  const moving = Promise.withResolvers<void>()
  const entry = first.place(movie, from, async () => {
    t.same([first.list(), await first.find(infohash, 1)], [[], null], 'it counts for nobody on its way')
    await writeFile(`${recordIn(directory)}.then`, await readFile(recordIn(directory)))
    const before = await StoredFiles.open({ directory, log: silent })
    t.same(before.list(), [], 'a process that ended before the move: not there')
    await before.close()
    await rename(from, to)
    await rename(`${recordIn(directory)}.then`, recordIn(directory))
    t.match(await (await StoredFiles.open({ directory, log: silent })).find(infohash, 1), movie, 'one that ended after it: known')
    moving.resolve()
  })
  await moving.promise
  t.match(await entry, movie)
  t.match(await first.find(infohash, null), movie)
  await first.close()
})

t.test('a file into which a piece is written once more on its way is known, whenever the process ends', async t => {
  const directory = t.testdir()
  const from = join(directory, '.self-streme', '1.part')
  const to = join(directory, movie.path)
  const writeAgain = async (second: number) => {
    await writeFile(to, Buffer.alloc(movie.lengthBytes), { flag: 'r+' })
    await utimes(to, second, second)
  }
  await place(directory, join('.self-streme', '1.part'), movie.lengthBytes)
  const stored = await StoredFiles.open({ directory, log: silent })
  await stored.place(movie, from, async () => {
    await rename(from, to)
    await writeAgain(1000)
    const record = await readFile(recordIn(directory))
    const next = await StoredFiles.open({ directory, log: silent })
    t.match(await next.find(infohash, 1), movie, 'the process ended before it said that the file was in its place')
    await next.close()
    await writeAgain(2000)
    t.equal(await (await StoredFiles.open({ directory, log: silent })).find(infohash, 1), null, 'and from then on the file may not be changed')
    await writeFile(recordIn(directory), record)
  })
  await stored.close()
  const again = await StoredFiles.open({ directory, log: silent })
  t.match(await again.find(infohash, 1), movie, 'it ended later')
  t.equal(JSON.parse(await readFile(recordIn(directory), 'utf8')).files.length, 1)
  await writeAgain(3000)
  t.equal(await again.find(infohash, 1), null, 'it was written into since')
  await again.close()
})

t.test('a file that could not be moved is not recorded', async t => {
  const directory = t.testdir()
  await place(directory, 'elsewhere', movie.lengthBytes)
  const stored = await StoredFiles.open({ directory, log: silent })
  await t.rejects(stored.place(movie, join(directory, 'elsewhere'), async () => { throw new Error('no') }), { message: 'no' })
  await t.rejects(stored.place(movie, join(directory, 'gone'), async () => { t.fail('nothing to move') }), { code: 'STORE_FAILED' })
  await t.rejects(stored.place({ ...movie, path: '../out' }, join(directory, 'elsewhere'), async () => { t.fail('out of the directory') }), { code: 'STORE_FAILED' })
  t.same(stored.list(), [])
  await place(directory, subtitles.path, subtitles.lengthBytes)
  await stored.add(subtitles)
  t.match(JSON.parse(await readFile(recordIn(directory), 'utf8')).files, [subtitles])
  t.equal(JSON.parse(await readFile(recordIn(directory), 'utf8')).files.length, 1)
})

const losses: Array<[what: string, lose: (path: string) => Promise<void>]> = [
  ['deleted', unlink],
  ['cut short', async path => { await truncate(path, 4999) }],
  ['replaced by another of the same length', async path => {
    await writeFile(`${path}.new`, Buffer.alloc(5000, 1))
    await rename(`${path}.new`, path)
  }],
  ['written into', async path => {
    const handle = await open(path, 'r+')
    await handle.write(Buffer.from('x'), 0, 1, 100)
    await handle.close()
  }],
  ['replaced by a link to itself', async path => {
    await rename(path, `${path}.real`)
    await symlink(`${path}.real`, path)
  }],
  ['replaced by a folder', async path => {
    await unlink(path)
    await mkdir(path)
  }]
]

for (const [what, lose] of losses) {
  for (const when of ['while the server runs', 'while it does not']) {
    t.test(`a file that was ${what} ${when} does not count, and its entry is dropped`, async t => {
      const directory = t.testdir()
      let stored = await StoredFiles.open({ directory, log: silent })
      await place(directory, movie.path, movie.lengthBytes)
      await stored.add(movie)
      await lose(join(directory, movie.path))
      if (when === 'while it does not') {
        stored = await StoredFiles.open({ directory, log: silent })
        t.same(stored.list(), [], 'already when it starts')
      }
      t.equal(await stored.find(infohash, 1), null)
      t.equal(await stored.find(infohash, null), null)
      await stored.close()
      t.match(JSON.parse(await readFile(recordIn(directory), 'utf8')), { files: [] })
    })
  }
}

t.test('what is not there, or of another length, is not recorded', async t => {
  const directory = t.testdir({ folder: {} })
  const stored = await StoredFiles.open({ directory, log: silent })
  await t.rejects(stored.add(movie), { code: 'STORE_FAILED' })
  await place(directory, movie.path, 4999)
  await t.rejects(stored.add(movie), { code: 'STORE_FAILED' })
  await t.rejects(stored.add({ ...movie, path: 'folder' }), { code: 'STORE_FAILED' })
  await t.rejects(stored.add({ ...movie, path: '../movie.mkv' }), { code: 'STORE_FAILED' })
  t.same(stored.list(), [])
})

const damages: Array<[what: string, text: string]> = [
  ['is empty', ''],
  ['was cut in the middle', '{ "version": 1, "files": [ { "infohash": "3973'],
  ['is no object', '[]'],
  ['is null', 'null'],
  ['has no files', '{ "version": 1 }'],
  ['has files that are no list', '{ "version": 1, "files": {} }'],
  ['names no version', '{ "files": [] }'],
  ['is not even text', '\0\0\0\0']
]

for (const [what, text] of damages) {
  t.test(`a record that ${what} is put aside with a warning, and a new one is begun`, async t => {
    const directory = t.testdir()
    await writeRecord(directory, text)
    const { log, warnings } = warningsOf()
    const stored = await StoredFiles.open({ directory, log })
    t.same(stored.list(), [])
    t.equal(warnings.length, 1)
    const [aside, ...others] = await readdir(join(directory, '.self-streme'))
    t.match(aside, /^stored\.json\.corrupt-\d+$/)
    t.same(others, [])
    t.equal(await readFile(join(directory, '.self-streme', aside ?? ''), 'utf8'), text, 'nothing is lost')
    await place(directory, movie.path, movie.lengthBytes)
    await stored.add(movie)
    t.match(await (await StoredFiles.open({ directory, log: silent })).find(infohash, 1), movie)
  })
}

t.test('of a record with entries that make no sense the others are kept', async t => {
  const directory = join(t.testdir(), 'cache')
  const stored = await StoredFiles.open({ directory, log: silent })
  await place(directory, movie.path, movie.lengthBytes)
  const good = await stored.add(movie)
  const outside = await place(directory, '../outside.mkv', movie.lengthBytes)
  const hidden = await place(directory, '.self-streme/partial/file', movie.lengthBytes)
  const inodes = { outside: String((await stat(outside)).ino), hidden: String((await stat(hidden)).ino) }
  const bad = [
    null, 'text', {}, { ...good, fileIndex: -1 }, { ...good, fileIndex: '1' },
    ...[
      { infohash: infohash.toUpperCase() }, { lengthBytes: 1.5 }, { isDefault: 'yes' }, { path: '' }, { inode: 5 }, { mtimeNs: 5 },
      { path: '../outside.mkv', inode: inodes.outside }, { path: outside, inode: inodes.outside },
      { path: 'a/../../outside.mkv', inode: inodes.outside }, { path: '.self-streme/partial/file', inode: inodes.hidden }
    ].map((change, i) => ({ ...good, fileIndex: i + 10, ...change }))
  ]
  await writeRecord(directory, JSON.stringify({ version: 1, files: [...bad, good] }))
  const { log, warnings } = warningsOf()
  const again = await StoredFiles.open({ directory, log })
  t.same(again.list(), [good])
  t.equal(warnings.length, 1)
  await again.close()
  t.match(JSON.parse(await readFile(recordIn(directory), 'utf8')), { version: 1, files: [good] })
})

t.test('files stored at the same time are all recorded, and nothing is left beside the record', async t => {
  const directory = t.testdir()
  const stored = await StoredFiles.open({ directory, log: silent })
  const files = Array.from({ length: 50 }, (_, i) => ({ ...movie, fileIndex: i, path: `file-${i}.mkv`, isDefault: i === 0 }))
  await Promise.all(files.map(async ({ path, lengthBytes }) => await place(directory, path, lengthBytes)))
  await Promise.all(files.map(async file => await stored.add(file)))
  const again = await StoredFiles.open({ directory, log: silent })
  t.equal(again.list().length, 50)
  t.same(await readdir(join(directory, '.self-streme')), ['stored.json'])
})

t.test('a record that cannot be written is an error for who stores, and the file is served all the same', async t => {
  const directory = t.testdir({ '.self-streme': 'a file where the folder should be' })
  const stored = await StoredFiles.open({ directory, log: silent })
  await place(directory, movie.path, movie.lengthBytes)
  await t.rejects(stored.add(movie), { code: 'STORE_FAILED' })
  t.match(await stored.find(infohash, 1), movie)
  await stored.close()
})

t.test('a server that is killed while it writes leaves a whole record', async t => {
  const directory = t.testdir()
  const writer = join(directory, 'writer.mjs')
  await writeFile(writer, `
    import { truncate, writeFile } from 'node:fs/promises'
    import { StoredFiles } from ${JSON.stringify(new URL('../../../services/cache/stored-files.ts', import.meta.url).href)}
    const log = { debug () {}, info () {}, warn () {}, error () {} }
    const stored = await StoredFiles.open({ directory: process.argv[2], log })
    for (let fileIndex = stored.list().length; ; fileIndex++) {
      const path = 'file-' + fileIndex
      await writeFile(process.argv[2] + '/' + path, '')
      await truncate(process.argv[2] + '/' + path, 5000)
      await stored.add({ infohash: '${infohash}', fileIndex, path, lengthBytes: 5000, name: path, isDefault: false })
      process.send(fileIndex)
    }`)
  let acknowledged = -1
  for (let round = 0; round < 5; round++) {
    const child = fork(writer, [directory], { execArgv: [] })
    const isEnough = new Promise<void>(resolve => {
      let count = 0
      child.on('message', (fileIndex) => {
        acknowledged = Number(fileIndex)
        if (++count === 10 + round * 7) resolve()
      })
    })
    await isEnough
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    const { log, warnings } = warningsOf()
    const stored = await StoredFiles.open({ directory, log })
    t.same(warnings, [])
    t.ok(stored.list().length > acknowledged, `everything that was acknowledged is there: ${stored.list().length} of ${acknowledged + 1}`)
    await stored.close()
  }
})
