import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { InfohashBlocklist, parseBlocklist } from '../../../services/access/infohash-blocklist.ts'
import { silent } from '../../../services/log.ts'
import { temporaryDirectory } from '../../testnet.ts'

const [one, two] = ['dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c', '08ada5a7a6183aae1e09d831df6748d566095a10']

t.test('each line names a torrent, however people write it', async (t) => {
  const { infohashes, badLines } = parseBlocklist(`\uFEFF# a list\r\n\r\n${one.toUpperCase()}\r\n${two}, Sintel\n  ${two} # again\n; old\nmagnet:?dn=x&xt=urn:btih:3WBFL3G4PSSV7MF37AJSHWDQMLNR63I4&tr=udp://x\nnonsense\n${one}0\n`)
  t.same(infohashes, new Set([one, two]))
  t.same(badLines, [8, 9])
})

t.test('the list is read again when it changes, and what cannot be read leaves what it said', async (t) => {
  const path = join(await temporaryDirectory(t), 'blocked.txt')
  await t.rejects(InfohashBlocklist.open(path, silent), /INFOHASH_BLOCKLIST .*blocked\.txt cannot be read/)
  await writeFile(path, `${one}\n`)
  const list = await InfohashBlocklist.open(path, silent)
  t.teardown(() => { list.close() })
  t.same([list.has(one), list.has(two), list.size], [true, false, 1])
  await writeFile(path, `${one}\n${two}\n`)
  await list.refresh()
  t.same([list.has(one), list.has(two)], [true, true])
  await rm(path)
  await list.refresh()
  t.same([list.has(one), list.has(two)], [true, true])
  await writeFile(path, `${two}\n`)
  await list.refresh()
  t.same([list.has(one), list.has(two)], [false, true])
})
