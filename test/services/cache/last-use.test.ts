import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { LastUse, tracked } from '../../../services/cache/last-use.ts'
import { silent } from '../../../services/log.ts'

const [a, b] = ['a'.repeat(40), 'b'.repeat(40)]

t.test('a reader streams until it ends; what it streamed is known afterwards', async (t) => {
  let now = 1000
  const use = await LastUse.open({ directory: t.testdir(), log: silent, now: () => now })
  t.teardown(async () => { await use.close() })
  t.equal(use.at(a), null)
  const reading = use.begin(a, 1)
  t.ok(use.isStreaming(a))
  t.ok(use.isStreaming(a, 1))
  t.notOk(use.isStreaming(a, 0))
  t.notOk(use.isStreaming(b))
  t.equal(use.at(a, 1), null, 'no byte yet')
  now = 5000
  reading.touch()
  reading.end()
  reading.end()
  t.notOk(use.isStreaming(a))
  t.equal(use.at(a, 1), 5000)
  t.equal(use.at(a), 5000)
  t.equal(use.at(a, 0), null)
})

t.test('who knows no index counts for each file', async (t) => {
  const use = await LastUse.open({ directory: t.testdir(), log: silent })
  t.teardown(async () => { await use.close() })
  const reading = use.begin(a, null)
  t.ok(use.isStreaming(a, 7))
  reading.end()
  t.notOk(use.isStreaming(a, 7))
})

t.test('a reader that took no byte for 120 s has no claim, until it takes one', async (t) => {
  let now = 0
  const use = await LastUse.open({ directory: t.testdir(), log: silent, now: () => now })
  t.teardown(async () => { await use.close() })
  const reading = use.begin(a, 0)
  now = 119_999
  t.ok(use.isStreaming(a))
  now = 120_000
  t.ok(reading.isStalled)
  t.notOk(use.isStreaming(a))
  reading.touch()
  t.ok(use.isStreaming(a))
  reading.end()
})

t.test('chunks pass through, and the reader ends with them, whoever ends it', async (t) => {
  const use = await LastUse.open({ directory: t.testdir(), log: silent })
  t.teardown(async () => { await use.close() })
  async function * chunks (): AsyncGenerator<number> { yield * [1, 2, 3] }
  const taken = []
  for await (const chunk of tracked(use.begin(a, 0), chunks())) {
    t.ok(use.isStreaming(a))
    taken.push(chunk)
  }
  t.same(taken, [1, 2, 3])
  t.notOk(use.isStreaming(a))
  for await (const chunk of tracked(use.begin(a, 0), chunks())) if (chunk === 1) break
  t.notOk(use.isStreaming(a), 'after a break')
  async function * broken (): AsyncGenerator<number> { throw new Error('broken') }
  await t.rejects(async () => { for await (const chunk of tracked(use.begin(a, 0), broken())) t.fail(String(chunk)) }, /broken/)
  t.notOk(use.isStreaming(a), 'after a failure')
})

t.test('times and pins survive a restart', async (t) => {
  const directory = t.testdir()
  const first = await LastUse.open({ directory, log: silent, now: () => 1234 })
  const readings = [first.begin(a, 3), first.begin(b, null)]
  for (const reading of readings) reading.touch()
  await first.pin(b)
  await first.close()
  const second = await LastUse.open({ directory, log: silent })
  t.equal(second.at(a, 3), 1234)
  t.equal(second.at(b), 1234)
  t.ok(second.isPinned(b))
  t.notOk(second.isPinned(a))
  t.notOk(second.isStreaming(a))
  await second.unpin(b)
  second.prune((infohash) => infohash === b)
  t.equal(second.at(a), null)
  await second.close()
  const third = await LastUse.open({ directory, log: silent })
  t.notOk(third.isPinned(b))
  t.equal(third.at(b), 1234)
  t.equal(third.at(a), null)
  await third.close()
})

t.test('a record that makes no sense is put aside with a warning, and begun anew; lines of it that make none are left out', async (t) => {
  const directory = t.testdir()
  const path = join(directory, '.self-streme', 'last-use.json')
  await mkdir(join(directory, '.self-streme'))
  for (const text of ['', '[]', 'null', '{"version":1,"pinned":1,"streamed":[]}']) {
    await writeFile(path, text)
    const warnings: string[] = []
    const use = await LastUse.open({ directory, log: { ...silent, warn: (_fields, message) => { warnings.push(message) } } })
    t.equal(warnings.length, 1, text)
    t.equal(use.at(a), null)
    await use.close()
  }
  await writeFile(path, JSON.stringify({ version: 1, pinned: ['x', b, 7], streamed: [null, { infohash: a, fileIndex: 0, at: 5 }, { infohash: a, fileIndex: -1, at: 9 }, { infohash: '..', fileIndex: 0, at: 9 }] }))
  const use = await LastUse.open({ directory, log: silent })
  t.equal(use.at(a), 5)
  t.ok(use.isPinned(b))
  await use.close()
})

t.test('on a read-only disk nothing is written', async (t) => {
  const directory = t.testdir()
  const use = await LastUse.open({ directory, log: silent, isReadOnly: true })
  const reading = use.begin(a, 0)
  reading.touch()
  reading.end()
  await use.pin(a)
  await use.close()
  await t.rejects(readFile(join(directory, '.self-streme', 'last-use.json')), { code: 'ENOENT' })
})
