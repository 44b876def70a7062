import { mkdir, readFile, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { StateRecord } from '../../services/state-record.ts'
import { silent } from '../../services/log.ts'
import { temporaryDirectory } from '../testnet.ts'
import type { Fields } from '../../services/state-record.ts'
import type { Test } from 'tap'

/** A record of names in three formats: a list; a list of objects; the same with a colour. */
const formats = [
  { version: 1, upgrades: {} },
  { version: 2, upgrades: { 1: ({ names }: Fields) => ({ names: Array.isArray(names) ? names.map((name) => ({ name })) : [] }) } },
  {
    version: 3,
    upgrades: {
      1: ({ names }: Fields) => ({ names: Array.isArray(names) ? names.map((name) => ({ name })) : [] }),
      2: ({ names }: Fields) => ({ names: Array.isArray(names) ? names.map((name) => ({ ...name, colour: 'red' })) : [] })
    }
  }
] as const

/** The record as a server of this version opens it. */
function open (folder: string, version: 1 | 2 | 3, isReadOnly = false): { record: StateRecord, warnings: string[] } {
  const format = formats[version - 1] ?? formats[0]
  const warnings: string[] = []
  const log = { ...silent, warn: (_fields: object, message: string) => { warnings.push(message) } }
  return { warnings, record: new StateRecord({ path: join(folder, 'names.json'), ...format, title: 'record of names', without: 'nobody has one', isReadOnly, log }) }
}

async function textIn (folder: string, name: string): Promise<string> {
  return await readFile(join(folder, name), 'utf8')
}

async function folderOf (t: Test): Promise<string> {
  const folder = join(await temporaryDirectory(t), 'state')
  await mkdir(folder)
  return folder
}

/** As if it had been written a second before the others. */
async function age (folder: string, name: string): Promise<void> {
  const then = new Date(Date.now() - 1000)
  await utimes(join(folder, name), then, then)
}

t.test('there is none yet: nothing to read, and the first write makes it, with its version', async (t) => {
  const folder = join(await temporaryDirectory(t), 'state')
  const { record, warnings } = open(folder, 2)
  t.same(await record.read(), [])
  await record.write({ names: [{ name: 'a' }] })
  t.same(JSON.parse(await textIn(folder, 'names.json')), { version: 2, names: [{ name: 'a' }] })
  t.same(await open(folder, 2).record.read(), [{ version: 2, names: [{ name: 'a' }] }])
  t.same(warnings, [])
})

t.test('an upgrade by one, and by two: what the older server knew is there, and its record is kept for it', async (t) => {
  for (const [version, expected] of [[2, [{ name: 'a' }]], [3, [{ name: 'a', colour: 'red' }]]] as const) {
    const folder = await folderOf(t)
    await open(folder, 1).record.write({ names: ['a'] })
    await age(folder, 'names.json')
    const before = await textIn(folder, 'names.json')
    const { record, warnings } = open(folder, version)
    const [read, ...more] = await record.read()
    t.same(read?.['names'], expected)
    t.same(more, [])
    t.equal(await textIn(folder, 'names.json'), before, 'reading changes nothing')
    await record.write({ names: [...expected, { name: 'b' }] })
    t.same(JSON.parse(await textIn(folder, 'names.json')).version, version)
    t.equal(await textIn(folder, 'names.v1.json'), before, 'for a way back')
    t.same((await open(folder, version).record.read()).length, 1, 'which does not count as long as nobody went it')
    t.same(warnings, [])
  }
})

t.test('a downgrade by one: the newer record is left as it is, the older server has its own again, and says so', async (t) => {
  const folder = await folderOf(t)
  await open(folder, 1).record.write({ names: ['a'] })
  await age(folder, 'names.json')
  const { record: newer } = open(folder, 2)
  await newer.read()
  await newer.write({ names: [{ name: 'a' }, { name: 'b' }] })
  await age(folder, 'names.json')
  const left = await textIn(folder, 'names.json')

  const { record: older, warnings } = open(folder, 1)
  t.same(await older.read(), [{ version: 1, names: ['a'] }])
  t.match(warnings, [/record of names: a newer Self-Streme wrote it, in format 2, and this one knows 1.*nobody has one/])
  await older.write({ names: ['a', 'c'] })
  t.equal(await textIn(folder, 'names.json'), left)
  t.same(await open(folder, 1).record.read(), [{ version: 1, names: ['a', 'c'] }], 'and so at the next start')

  const { record: again } = open(folder, 2)
  t.same((await again.read()).map(({ names }) => names), [[{ name: 'a' }, { name: 'b' }], [{ name: 'a' }, { name: 'c' }]], 'the newer one takes over what came meanwhile')
  t.same(await readdir(folder), ['names.json', 'names.v1.json'], 'and nothing was deleted')
})

t.test('a server that never ran here before the newer one begins with nothing', async (t) => {
  const folder = await folderOf(t)
  await open(folder, 3).record.write({ names: [] })
  const left = await textIn(folder, 'names.json')
  const { record } = open(folder, 2)
  t.same(await record.read(), [])
  await record.write({ names: [{ name: 'a' }] })
  t.equal(await textIn(folder, 'names.json'), left)
  t.equal(record.path, join(folder, 'names.v2.json'))
})

t.test('what makes no sense is put aside with a warning, and nothing of it is lost', async (t) => {
  for (const text of ['', '[]', 'null', '{"names":[]}', '{"version":0,"names":[]}', '{"version":1.5,"names":[]}', '{"version":"1","names":[]}', '\0']) {
    const folder = await folderOf(t)
    await writeFile(join(folder, 'names.json'), text)
    const { record, warnings } = open(folder, 1)
    t.same(await record.read(), [], text)
    t.equal(warnings.length, 1)
    const [aside = '', ...more] = await readdir(folder)
    t.match(aside, /^names\.json\.corrupt-\d+$/)
    t.same(more, [])
    t.equal(await textIn(folder, aside), text)
  }
})

t.test('read-only: whatever is there, nothing is renamed', async (t) => {
  const folder = await folderOf(t)
  await writeFile(join(folder, 'names.json'), 'damaged')
  const { record, warnings } = open(folder, 1, true)
  t.same(await record.read(), [])
  t.equal(warnings.length, 1)
  t.same(await readdir(folder), ['names.json'])
})

t.test('an upgrade that cannot be written leaves the old record in its place', async (t) => {
  const folder = await folderOf(t)
  await open(folder, 1).record.write({ names: ['a'] })
  const { record } = open(folder, 2)
  await record.read()
  await mkdir(join(folder, 'names.v1.json'))
  await t.rejects(record.write({ names: [] }))
  t.same(JSON.parse(await textIn(folder, 'names.json')), { version: 1, names: ['a'] })
})
