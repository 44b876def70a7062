import { readFile } from 'node:fs/promises'
import t from 'tap'

const read = async (name: string) => JSON.parse(await readFile(new URL(`../${name}`, import.meta.url), 'utf8'))

t.test('packages that run a script when they are installed are allowed by name, explained, and no others', async (t) => {
  const { packages } = await read('package-lock.json')
  const { allowScripts } = await read('package.json')
  const scripted = Object.entries<{ hasInstallScript?: boolean }>(packages).filter(([path, { hasInstallScript }]) => path.startsWith('node_modules/') && hasInstallScript === true).map(([path]) => path.replace(/^.*node_modules\//, ''))
  t.same([...new Set(scripted)].sort(), Object.keys(allowScripts).sort())
  const security = await readFile(new URL('../SECURITY.md', import.meta.url), 'utf8')
  for (const name of scripted) t.ok(security.includes(`\`${name}\``), name)
})

t.test('every package has its checksum, and comes from the registry or from this repository', async (t) => {
  const { packages } = await read('package-lock.json')
  const odd = Object.entries<{ resolved?: string, integrity?: string, link?: boolean, inBundle?: boolean }>(packages).filter(([path, { resolved, integrity, link, inBundle }]) =>
    path.startsWith('node_modules/') && link !== true && inBundle !== true && (integrity === undefined || (resolved !== undefined && !resolved.startsWith('https://registry.npmjs.org/'))))
  t.same(odd.map(([path]) => path), [])
})
