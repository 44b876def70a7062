import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import t from 'tap'
import { DhtFile, parseDhtState } from '../../../services/swarm/dht-file.ts'
import { temporaryDirectory } from '../../testnet.ts'
import { recordingLog } from './swarm-setup.ts'

const id = 'ab'.repeat(20)
const state = { nodeId: '01'.repeat(20), nodes: ['192.0.2.1:6881'] }
const warning = 'warn what is known of the DHT cannot be read: it is found anew'

t.test('what was saved is there at the next start', async (t) => {
  const directory = await temporaryDirectory(t)
  const log = recordingLog()
  const first = await DhtFile.open({ directory, log })
  t.equal(first.state, null)
  first.save({ ...state, nodes: [] })
  first.save(state)
  t.same(first.state, state, 'at once for a process that comes back')
  await first.saved()
  t.same((await DhtFile.open({ directory, log })).state, state)
  t.same(log.lines, [], 'a first start is no news')
  t.same(await readdir(join(directory, '.self-streme')), ['dht.json'], 'nothing else is left there')
})

t.test('a read-only server reads it and writes nothing', async (t) => {
  const directory = await temporaryDirectory(t)
  const log = recordingLog()
  const reader = await DhtFile.open({ directory, log, isReadOnly: true })
  reader.save(state)
  await reader.saved()
  t.same(await readdir(directory), [])
  t.same(reader.state, state)
})

t.test('a file that is not as it should be is ignored with a warning, and replaced', async (t) => {
  for (const [name, content] of [
    ['nothing', ''], ['half of it', '{"version":1,"nodeId":"01'], ['another format', JSON.stringify({ version: '2', ...state })], ['a list', '[]'], ['null', 'null'],
    ['no node id', JSON.stringify({ version: 1, nodes: [] })], ['a short node id', JSON.stringify({ version: 1, nodeId: 'ab', nodes: [] })],
    ['nodes that are no list', JSON.stringify({ version: 1, nodeId: id, nodes: { length: 5 } })], ['far too much', JSON.stringify({ version: 1, ...state }) + ' '.repeat(1_000_000)]
  ] as const) {
    const directory = await temporaryDirectory(t)
    const path = join(directory, '.self-streme/dht.json')
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, content)
    const log = recordingLog()
    const file = await DhtFile.open({ directory, log })
    t.equal(file.state, null, name)
    t.same(log.lines, [warning], name)
    file.save(state)
    await file.saved()
    t.same(JSON.parse(await readFile(path, 'utf8')), { version: 1, ...state }, name)
  }
})

t.test('nodes that are none are left out, and there are a thousand at most', async (t) => {
  const bad = [null, 7, {}, [], '', '192.0.2.1', 'example.org:1', '[::1]:1', '192.0.2.1:0', '192.0.2.1:65536', '192.0.2.1:1.5', '192.0.2.256:1', ' 192.0.2.1:1']
  t.same(parseDhtState(JSON.stringify({ version: 1, nodeId: id, nodes: [...bad, ...state.nodes] })).nodes, state.nodes)
  t.same(parseDhtState(JSON.stringify({ version: 1, nodeId: id, nodes: Array(5_000).fill(state.nodes[0]) })).nodes.length, 1_000)
})
