import { execFile, spawn } from 'node:child_process'
import { cp, mkdir, readFile, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { bytesFrom, jsonFrom } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { startServer } from '../server-process.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'
import type { ServerProcess } from '../server-process.ts'
import type { Test } from 'tap'

/*
 * What a machine gets for which the native packages have no binary: no uTP, no WebRTC, no lock of the kernel.
 */

const root = join(import.meta.dirname, '..', '..')
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const placedHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const installed = await temporaryDirectory(t)

async function start (t: Test, env: Record<string, string>, directory: string): Promise<ServerProcess> {
  return await startServer(t, { HTTP_ALLOW_PRIVATE_NETWORKS: 'true', ...env }, directory, (command, _args, options) =>
    spawn(command, [join(installed, 'index.js')], { ...options, stdio: ['pipe', 'pipe', 'pipe'] }))
}

async function plays (t: Test, url: string, infohash: string, source: string, content?: Buffer): Promise<void> {
  const response = await fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: 'bytes=0-0' } })
  await response.arrayBuffer()
  t.equal(response.headers.get('x-stream-source'), source)
  const bytes = await bytesFrom(`${url}/stream/proxy/${infohash}`)
  t.ok(content === undefined ? bytes.length === 2_097_152 : bytes.equals(content), `${source}: every byte`)
}

t.test('npm ci without development and optional packages', { timeout: 120_000 }, async (t) => {
  const released = (await readFile(join(root, '.dockerignore'), 'utf8')).split('\n').flatMap((line) => line.startsWith('!') ? [line.slice(1)] : [])
  for (const name of released) await cp(join(root, name), join(installed, name), { recursive: true, filter: (path) => !path.includes('node_modules', root.length) })
  await promisify(execFile)('npm', ['ci', '--omit=dev', '--omit=optional', '--prefer-offline', '--no-audit', '--no-fund'], {
    cwd: installed, env: { ...process.env, PATH: `${dirname(process.execPath)}:${process.env['PATH']}` }, maxBuffer: 10_000_000
  })
  const names = [...await readdir(join(installed, 'node_modules')), ...await readdir(join(installed, 'node_modules', '@roamhq')).catch(() => [])]
  t.same(names.filter((name) => ['utp-native', 'wrtc', 'fs-native-extensions', 'bufferutil', 'tap'].includes(name)), [])
})

testWith(t, 'it streams from the mock, the cache, the swarm and over HTTP, and says what it has not', async (t) => {
  const directory = await temporaryDirectory(t)
  const placed = testBytes(3_000_000, 'placed')
  await mkdir(join(directory, 'cache'))
  await writeFile(join(directory, 'cache', `${placedHash}.mp4`), placed)
  const overHttp = await makeTorrent({ 'over-http.mp4': testBytes(2_000_000, 'http') }, { pieceLength: 65_536 })
  const overSwarm = await makeTorrent({ 'over-swarm.mp4': testBytes(2_000_000, 'swarm') }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, overHttp)
  const seeder = await startSeeder(t, overSwarm, { transport: 'tcp' })
  const server = await start(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, STATIC_PEERS: seeder.address }, directory)
  await plays(t, server.url, mockHash, 'mock')
  await plays(t, server.url, placedHash, 'cache', placed)
  await plays(t, server.url, overHttp.infohash, 'http-fallback', overHttp.files[0]?.bytes)
  await plays(t, server.url, overSwarm.infohash, 'p2p', overSwarm.files[0]?.bytes)

  t.match((await jsonFrom(`${server.url}/ready`)).body, { status: 'ok', p2p: { state: 'ready' } }, 'that is no reason to be degraded')
  const { body } = await until('the network is known', async () => {
    const answer = await jsonFrom(`${server.url}/api/network`)
    return answer.body.data.ports.tcp === null ? null : answer
  })
  t.match(body.data, { hasUtp: false, hasWebRtc: false, ports: { utp: null } })
  t.match(body.data.ports.missing, [{ what: 'utp', reason: /the optional package utp-native is not installed/ }, { what: 'webrtc', reason: /the optional package @roamhq\/wrtc is not installed/ }])
  t.match(body.data.verdict.reason, /there is no hole punching/)
  t.notMatch(JSON.stringify(body), installed, 'no path of ours is told')
})

testWith(t, 'two of them never share a download directory, and kill -9 leaves no stale lock', async (t) => {
  const directory = await temporaryDirectory(t)
  const env = { ENABLE_P2P: 'false' }
  const first = await start(t, env, directory)
  await t.rejects(start(t, env, directory), /another Self-Streme \(process \d+\) uses the download directory/)
  await first.stop('SIGKILL')
  const next = await start(t, env, directory)
  await plays(t, next.url, mockHash, 'mock')
  t.equal(await next.stop('SIGTERM'), 0)
})
