import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, readdir, symlink, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import t from 'tap'
import { withApiTable } from '../../scripts/api-table.ts'
import { configurationGuide } from '../../scripts/configuration-guide.ts'
import { startApp } from '../helper.ts'
import { startServer } from '../server-process.ts'
import { exists, makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'
import type { Test } from 'tap'

const root = join(import.meta.dirname, '..', '..')
const old = 'b'.repeat(40)

/** Commands that cannot be run here, and what is done about them. */
const elsewhere: ReadonlyArray<readonly [command: RegExp, why: string]> = [
  [/^npm ci\b/, 'test/system/omit-optional.test.ts, and the panel: an install in a directory of its own'],
  [/^npm (?:test$|run (?:test:system|soak|bench)\b)/, 'CI itself'],
  [/^docker\b/, 'test/container.test.ts does the steps of the image by hand'],
  [/^(?:mpv|sudo ufw|nc|dig|ip route|turnserver|systemctl|ss)\b/, 'programs and networks of whoever reads']
]

/** This says with its exit code whether it would play. */
const answering = /diagnose/

async function guides (): Promise<string[]> {
  const names = await readdir(join(root, 'docs'), { recursive: true })
  const found = ['README.md', 'SECURITY.md', ...names.filter((name) => name.endsWith('.md')).sort().map((name) => join('docs', name))]
  const there = await Promise.all(found.map(async (name) => await exists(join(root, name))))
  return found.filter((_, i) => there[i])
}

/** The code blocks in this language. */
function blocksIn (markdown: string, language: string): string[] {
  return [...markdown.matchAll(/^ *```(\w*)\n([\s\S]*?)^ *```$/gm)].flatMap(([, of, block = '']) => of === language ? [block] : [])
}

/** The lines after `$ ` in blocks of a console, a line that ends in `\` with the next one. */
function commandsIn (markdown: string): string[] {
  const blocks = blocksIn(markdown, 'console').map((block) => block.replaceAll(/\\\n\s*/g, ''))
  return blocks.flatMap((block) => [...block.matchAll(/^ *\$ (.+)$/gm)].map(([, command = '']) => command.replace(/\s+#.*$/, '')))
}

/** A directory as one has it after an install, with what the guides take for granted, and a server that runs in it. */
async function atHome (t: Test): Promise<{ run: (command: string) => Promise<{ code: number | null, output: string }> }> {
  const home = await temporaryDirectory(t)
  for (const name of ['package.json', 'node_modules', 'app.ts', 'index.js', 'server.ts', 'assets', 'plugins', 'public', 'routes', 'scripts', 'services', '.env.hybrid-http']) await symlink(join(root, name), join(home, name))
  for (const name of ['cache', 'temp', 'old']) await mkdir(join(home, name))
  const film = testBytes(1_100_000, 'film')
  await writeFile(join(home, 'film.mp4'), film)
  await writeFile(join(home, 'film.torrent'), (await makeTorrent({ 'film.mp4': film })).torrent)
  await writeFile(join(home, 'temp', `${old}.mkv`), testBytes(1_100_000, 'old'))
  await writeFile(join(home, 'old', '.env'), 'PORT=7000\nADDON_PORT=7001\nCACHE_TTL=3600\nCACHE_BACKEND=sqlite\nJACKETT_URL=http://localhost:9117\nCACHE_MAX_DISK_MB=5000\nNODE_ENV=production\n')
  const offline = { TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', P2P_TIMEOUT: '300', START_TIMEOUT: '1000' }
  const { port } = await startServer(t, { ...offline, LOG_LEVEL: 'error' }, home)
  return {
    async run (command) {
      const here = command.replaceAll(/(localhost|127\.0\.0\.1):11470/g, `127.0.0.1:${port}`).replace(/ \| jq .*$/, '')
      // curl says what became of it: a route that is not there is a mistake of the guide.
      const child = spawn('sh', ['-c', here.startsWith('curl ') ? `${here} -w '\\n%{http_code}'` : here], {
        cwd: home, stdio: ['ignore', 'pipe', 'pipe'], env: { ...offline, PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: home, PORT: String(port) }
      })
      let output = ''
      child.stdout.on('data', (chunk: Buffer) => { output += chunk.toString('latin1') })
      child.stderr.on('data', (chunk: Buffer) => { output += chunk.toString() })
      await once(child, 'close')
      return { code: child.exitCode, output }
    }
  }
}

t.test('every command of the guides runs', { timeout: 120_000 }, async (t) => {
  const { run } = await atHome(t)
  const used = new Set<RegExp>()
  const done = new Set<string>()
  for (const guide of await guides()) {
    for (const command of commandsIn(await readFile(join(root, guide), 'utf8'))) {
      const other = elsewhere.find(([pattern]) => pattern.test(command))
      if (other !== undefined) used.add(other[0])
      if (other !== undefined || done.has(command)) continue
      done.add(command)
      const { code, output } = await run(command)
      const status = command.startsWith('curl ') ? Number(output.slice(output.lastIndexOf('\n') + 1)) : 200
      t.ok((code === 0 || (code === 1 && answering.test(command))) && ((status >= 200 && status < 300) || (status === 404 && output.includes('Stream not found'))), `${guide}: ${command}`, { code, output: output.slice(-600) })
    }
  }
  t.ok(done.size > 15, `${done.size} commands`)
  t.same(elsewhere.filter(([pattern]) => !used.has(pattern)).map(String), [], 'nothing is excused that no guide has')
})

t.test('what is generated is as it would be generated now: npm run docs', async (t) => {
  t.equal(await readFile(join(root, 'docs', 'configuration.md'), 'utf8'), configurationGuide())
  const { app } = await startApp(t)
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  t.equal(readme, withApiTable(readme, app.swagger()))
})

t.test('links between the documents lead somewhere', async (t) => {
  for (const guide of [...await guides(), 'routes/README.md', 'plugins/README.md']) {
    const text = await readFile(join(root, guide), 'utf8')
    for (const [, target = ''] of text.matchAll(/\]\((?!https?:)([^)#\s]+)(?:#[^)]*)?\)/g)) {
      const path = join(root, dirname(guide), target)
      t.ok(await exists(path), `${guide}: ${relative(root, path)}`)
    }
  }
})

t.test('the Hebrew edition has every command, setting and reason of the English one', async (t) => {
  const [english, hebrew] = await Promise.all(['docs/hybrid-http.md', 'docs/he/hybrid-http.md'].map(async (name) => await readFile(join(root, name), 'utf8')))
  t.same(commandsIn(hebrew ?? ''), commandsIn(english ?? ''))
  const namesIn = (text = ''): string[] => [...new Set([...text.matchAll(/`([A-Z][A-Z0-9_]{3,}[^`]*)`/g)].map(([, name = '']) => name))].sort()
  t.same(namesIn(hebrew), namesIn(english))
  t.same(blocksIn(hebrew ?? '', ''), blocksIn(english ?? '', ''))
  t.equal([...hebrew?.matchAll(/^<div dir="rtl" lang="he">$/gm) ?? []].length, [...hebrew?.matchAll(/^<\/div>$/gm) ?? []].length)
})
