import { randomInt } from 'node:crypto'
import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { bytesFrom, jsonFrom } from '../../helper.ts'
import { startMirror } from '../../mirror.ts'
import { install, serveRelease, serverMemoryMb, startInPanel } from '../../panel.ts'
import { isGone } from '../../server-process.ts'
import { amount, tellFigure } from '../../soak.ts'
import { freePort, makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith } from '../../testnet.ts'

const egg = JSON.parse(await readFile(new URL('../../../deploy/egg-self-streme.json', import.meta.url), 'utf8'))
const script: string = egg.scripts.installation.script
const { done } = JSON.parse(egg.config.startup)
const defaults: Record<string, string> = Object.fromEntries(egg.variables.map((variable: Record<string, string>) => [variable['env_variable'], variable['default_value']]))
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const placedHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

/** Knows nobody outside this machine. */
const alone = { API_TOKEN: 'a-token-of-the-panel', TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', HTTP_ALLOW_PRIVATE_NETWORKS: 'true', TORRENT_PORT: '0' }

const seconds = amount('SOAK_PANEL_SECONDS', 45)
const directory = await temporaryDirectory(t)
const placed = testBytes(3_000_000, 'placed')

testWith(t, "the egg's script installs a release, and another one over it, which leaves cache and settings alone", async (t) => {
  const address = await serveRelease(t, await temporaryDirectory(t))
  t.match(await install(script, directory, { SOURCE_URL: address, SOURCE_REF: 'HEAD' }), /Installed Self-Streme \d/)
  t.notOk((await readdir(join(directory, 'node_modules'))).includes('tap'), 'no devDependencies')
  await writeFile(join(directory, 'cache', `${placedHash}.mp4`), placed)
  await writeFile(join(directory, '.env'), 'LOG_LEVEL=warn\n')
  await mkdir(join(directory, 'services', 'of-an-old-version'))
  await install(script, directory, { SOURCE_URL: address, SOURCE_REF: 'HEAD' })
  t.ok((await readFile(join(directory, 'cache', `${placedHash}.mp4`))).equals(placed))
  t.equal(await readFile(join(directory, '.env'), 'utf8'), 'LOG_LEVEL=warn\n')
  t.notOk((await readdir(join(directory, 'services'))).includes('of-an-old-version'))
  t.notOk((await readdir(directory)).some((name) => name.startsWith('.install')), 'nothing is left behind')
})

testWith(t, 'what is no release is refused, and the server that is there stays', async (t) => {
  for (const env of [{ SOURCE_URL: '' }, { SOURCE_URL: '/no/such/repository', SOURCE_REF: 'main' }, { SOURCE_URL: 'http://127.0.0.1:1/x.tar.gz' }, { SOURCE_URL: '--upload-pack=touch /tmp/owned', SOURCE_REF: 'x' }]) {
    await t.rejects(install(script, directory, env), env.SOURCE_URL)
  }
  t.ok((await readdir(directory)).includes('node_modules'))
})

for (const { name, command, env, stop } of [
  { name: "the egg's own start", command: egg.startup as string, env: defaults, stop: ['SIGINT', 'stop'] },
  // What the generic egg does at each start; its variables are others, and ours are those of a .env.
  { name: "the generic Node egg's start", command: 'sh -c "npm install --no-audit --no-fund --omit=dev && exec node /home/container/index.js"', env: { MAIN_FILE: 'index.js', NODE_ARGS: '' }, stop: ['SIGTERM'] }
] satisfies Array<{ name: string, command: string, env: Record<string, string>, stop: string[] }>) {
  testWith(t, `${name}: it says the done line, streams from every source, and stops within 5 s`, async (t) => {
    const overHttp = await makeTorrent({ 'over-http.mp4': testBytes(2_000_000, `http ${name}`) }, { pieceLength: 65_536 })
    const overSwarm = await makeTorrent({ 'over-swarm.mp4': testBytes(2_000_000, `swarm ${name}`) }, { pieceLength: 65_536 })
    const mirror = await startMirror(t, overHttp)
    const seeder = await startSeeder(t, overSwarm)
    for (const wish of stop) {
      const port = await freePort()
      const server = await startInPanel(t, { directory, command, done, port, env: { ...env, ...alone, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, STATIC_PEERS: seeder.address } })
      const { body } = await jsonFrom(`${server.url}/api/cache`, { headers: { Authorization: `Bearer ${alone.API_TOKEN}` } })
      t.match(body.data, { limit: 2_000_000_000, accounting: 'apparent' }, 'it knows that a panel runs it')
      await streams(t, server.url, mockHash, 'mock')
      await streams(t, server.url, placedHash, 'cache', placed)
      // At the second start both are in the cache.
      const isFirst = wish === stop[0]
      await streams(t, server.url, overHttp.infohash, isFirst ? 'http-fallback' : 'cache', overHttp.files[0]?.bytes)
      await streams(t, server.url, overSwarm.infohash, isFirst ? 'p2p' : 'cache', overSwarm.files[0]?.bytes)
      const askedAt = performance.now()
      if (wish === 'stop') server.type('stop')
      else process.kill(server.pid, wish)
      t.equal(await server.ended, 0, `${wish}: exit code 0 is no crash`)
      t.ok(performance.now() - askedAt < 5000, `${Math.round(performance.now() - askedAt)} ms`)
      t.ok(await isGone(server.pid))
    }
  })
}

testWith(t, `mixed load for ${seconds} s stays below the memory of the panel`, async (t) => {
  const torrents = await Promise.all(Array.from({ length: 4 }, async (_, i) => await makeTorrent({ 'film.mp4': testBytes(24_000_000, `load ${i}`) }, { name: `film${i}.mp4`, pieceLength: 1_048_576 })))
  const [ofSwarm] = torrents
  if (ofSwarm === undefined) throw new Error('no torrent')
  const mirrors = await Promise.all(torrents.map(async (torrent) => await startMirror(t, torrent)))
  const seeder = await startSeeder(t, ofSwarm)
  const server = await startInPanel(t, {
    directory,
    command: egg.startup,
    done,
    port: await freePort(),
    env: {
      ...defaults,
      ...alone,
      // Less than all of them together, so that they come and go.
      CACHE_MAX_DISK_MB: '60',
      TORRENT_METADATA_URLS: mirrors.map(({ metadataUrl }) => metadataUrl).join(','),
      HTTP_MIRROR_URLS: mirrors.map(({ mirrorUrl }) => mirrorUrl).join(','),
      STATIC_PEERS: seeder.address
    }
  })
  const end = performance.now() + seconds * 1000
  let mostBytes = 0
  let requests = 0
  let bytes = 0
  const refused = new Map<string, number>()
  const read = async (): Promise<void> => {
    while (performance.now() < end) {
      const torrent = torrents[randomInt(torrents.length)] ?? ofSwarm
      const content = torrent.files[0]?.bytes ?? Buffer.alloc(0)
      const start = randomInt(2) === 0 ? 0 : randomInt(content.length)
      const asked = `bytes=${start}-${Math.min(content.length - 1, start + randomInt(1, 12_000_000))}`
      const response = await fetch(`${server.url}/stream/proxy/${torrent.infohash}`, { headers: { Range: asked }, signal: AbortSignal.timeout(60_000) })
      const body = Buffer.from(await response.arrayBuffer().catch(async (error: unknown) => {
        const { body } = await jsonFrom(`${server.url}/stream/status/${torrent.infohash}`)
        throw new Error(`${asked} of ${torrent.metadata.name} did not come: ${JSON.stringify(body)}`, { cause: error })
      }))
      requests++
      bytes += body.length
      if (response.status === 206) {
        if (!body.equals(content.subarray(start, start + body.length))) throw new Error('wrong bytes')
      } else {
        refused.set(String(response.status), (refused.get(String(response.status)) ?? 0) + 1)
      }
    }
  }
  const watch = async (): Promise<void> => {
    while (performance.now() < end) {
      mostBytes = Math.max(mostBytes, await server.memoryBytes())
      await jsonFrom(`${server.url}/ready`)
    }
  }
  await Promise.all([read(), read(), read(), read(), read(), watch()])
  tellFigure(t, 'panel: requests', requests)
  tellFigure(t, 'panel: MB streamed', Math.round(bytes / 1e6))
  tellFigure(t, 'panel: most memory, MB', Math.round(mostBytes / 1e6))
  tellFigure(t, 'panel: limited by a control group', String(server.isLimited))
  t.ok(mostBytes < serverMemoryMb * 1_000_000, `${Math.round(mostBytes / 1e6)} MB of ${serverMemoryMb}`)
  t.ok(requests > 20, `${requests} requests`)
  t.same([...refused], [], 'every request was served')
  process.kill(server.pid, 'SIGINT')
  t.equal(await server.ended, 0)
}, seconds * 1000 + 80_000)

/** The whole file comes, from this source. */
async function streams (t: Test, url: string, infohash: string, source: string, content?: Buffer): Promise<void> {
  const askedAt = performance.now()
  const head = await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: 'bytes=0-0' } })
  await head.arrayBuffer()
  t.comment(`${source}: first byte after ${Math.round(performance.now() - askedAt)} ms`)
  t.equal(head.headers.get('x-stream-source'), source)
  const bytes = await bytesFrom(`${url}/stream/proxy/${infohash}`)
  t.ok(content === undefined ? bytes.length > 1_000_000 : bytes.equals(content), `${source}: every byte`)
}
