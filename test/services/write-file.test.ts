import { mkdir, readdir, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startApp } from '../helper.ts'
import { temporaryDirectory } from '../testnet.ts'

t.test('what a killed server had half written is gone with the next start, and nothing else is', async (t) => {
  const directory = await temporaryDirectory(t)
  const folder = join(directory, '.self-streme')
  await mkdir(folder)
  const abandoned = ['added.json', 'api-token'].map((name) => `${name}.20a3bbd8-a549-4834-beb0-ba239aa35920.tmp`)
  const others = ['stored.json.corrupt-1795338044109', 'mine.tmp', 'added.json.0d0ffa38-7c1e-4f0e-8a4c-2b1f7ad0a5c1.tmp']
  for (const name of [...abandoned, ...others]) await writeFile(join(folder, name), '{')
  const past = Date.now() / 1000 - 3600
  for (const name of [...abandoned, ...others.slice(0, 2)]) await utimes(join(folder, name), past, past)
  await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  const left = new Set(await readdir(folder))
  t.same(abandoned.filter((name) => left.has(name)), [])
  t.same(others.filter((name) => left.has(name)), others, 'one that may be under way is left')
})
