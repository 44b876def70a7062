import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { SharesFile } from '../../../services/swarm/shares-file.ts'
import { temporaryDirectory } from '../../testnet.ts'
import { recordingLog } from './swarm-setup.ts'

const a = 'a'.repeat(40)
const b = 'b'.repeat(40)
const nothing = { uploadedBytes: 0, downloadedBytes: 0 }

t.test('what torrents have given is known at the next start', async (t) => {
  const directory = await temporaryDirectory(t)
  const log = recordingLog()
  const first = await SharesFile.open({ directory, log })
  t.same(first.get(a), nothing)
  await first.saved()
  t.same(await readdir(directory), [], 'nothing was given: nothing is written')
  first.set(a, { uploadedBytes: 1, downloadedBytes: 2 })
  first.set(a, { uploadedBytes: 3, downloadedBytes: 4 })
  first.set(b, { uploadedBytes: 5, downloadedBytes: 6 })
  await first.saved()
  const second = await SharesFile.open({ directory, log })
  t.same(second.get(a), { uploadedBytes: 3, downloadedBytes: 4 })
  t.same(second.get(b), { uploadedBytes: 5, downloadedBytes: 6 })
  t.same(log.lines, [], 'a first start is no news')
  t.same(await readdir(join(directory, '.self-streme')), ['shares.json'])
})

t.test('a read-only server reads it and writes nothing', async (t) => {
  const directory = await temporaryDirectory(t)
  const reader = await SharesFile.open({ directory, log: recordingLog(), isReadOnly: true })
  reader.set(a, { uploadedBytes: 1, downloadedBytes: 2 })
  await reader.saved()
  t.same(reader.get(a), { uploadedBytes: 1, downloadedBytes: 2 })
  t.same(await readdir(directory), [])
})

async function write (directory: string, content: string): Promise<void> {
  const path = join(directory, '.self-streme', 'shares.json')
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, content)
}

t.test('a file that is not as it should be is put aside with a warning, and it counts anew', async (t) => {
  const directory = await temporaryDirectory(t)
  await write(directory, 'what?')
  const log = recordingLog()
  const file = await SharesFile.open({ directory, log })
  t.same(log.lines, ['warn record of what torrents have given to peers: it was damaged and is put aside; it is counted anew'])
  t.same(file.get(a), nothing)
})

t.test('entries that make no sense are left out, and no more are kept than ten thousand', async (t) => {
  const directory = await temporaryDirectory(t)
  const counts = { uploadedBytes: 1, downloadedBytes: 2 }
  const torrents = { [a]: counts, none: counts, [b]: { uploadedBytes: -1, downloadedBytes: 2 }, ['c'.repeat(40)]: { uploadedBytes: '1' }, ['d'.repeat(40)]: null, ['e'.repeat(40)]: { uploadedBytes: 0.5, downloadedBytes: 1 } }
  await write(directory, JSON.stringify({ version: 1, torrents }))
  const file = await SharesFile.open({ directory, log: recordingLog(), isReadOnly: true })
  t.same(Object.keys(torrents).filter((infohash) => file.get(infohash).downloadedBytes > 0), [a])
  for (let i = 0; i <= 10_000; i++) file.set(i.toString(16).padStart(40, '0'), counts)
  t.same(file.get('0'.repeat(40)), nothing, 'the one that has not changed for the longest time went')
  t.same(file.get('1'.padStart(40, '0')), counts)
})
