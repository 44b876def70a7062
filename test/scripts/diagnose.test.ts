import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { execFile } from 'node:child_process'
import { dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { startMirror } from '../mirror.ts'
import { startServer } from '../server-process.ts'
import { freePort, makeTorrent, temporaryDirectory, testBytes } from '../testnet.ts'

const script = join(import.meta.dirname, '..', '..', 'scripts', 'diagnose.ts')
const placedHash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const nobodys = '9f'.repeat(20)
const alone = { TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', HTTP_ALLOW_PRIVATE_NETWORKS: 'true' }

async function diagnose (t: Test, args: string[], env: Record<string, string> = {}, cwd?: string): Promise<{ code: number, stdout: string, stderr: string }> {
  const directory = cwd ?? await temporaryDirectory(t)
  const port = String(await freePort())
  return await new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { cwd: directory, env: { PATH: process.env['PATH'], PORT: port, ...alone, ...env } }, (error, stdout, stderr) => { resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }) })
  })
}

t.test('what is no infohash is wrong use', async (t) => {
  for (const args of [[], ['x'], [placedHash, placedHash]]) t.match(await diagnose(t, args), { code: 2, stderr: /one infohash is needed/ })
})

t.test('a cached file plays, with no network at all', async (t) => {
  const cwd = await temporaryDirectory(t)
  await mkdir(join(cwd, 'cache'))
  await writeFile(join(cwd, 'cache', `${placedHash}.mp4`), testBytes(1_000_000, 'x'))
  const { code, stdout } = await diagnose(t, [placedHash], {}, cwd)
  t.equal(code, 0)
  t.match(stdout, /^ok {2}cache .*\([\d.]+ [KM]B\), which nobody has hashed yet$/m)
  t.match(stdout, /^ok {2}verdict +it plays$/m)
})

t.test('so does a mock, which nobody else is asked about', async (t) => {
  const { code, stdout } = await diagnose(t, ['39730aa7c09b864432bc8c878c20c933059241fd'])
  t.equal(code, 0)
  t.match(stdout, /^ok {2}mock/m)
  t.notMatch(stdout, /trackers|mirrors/)
})

t.test('a torrent that a mirror has: its file is named, and the mirror that lacks it', async (t) => {
  const torrent = await makeTorrent({ 'film.mp4': testBytes(3_000_000, 'y') })
  const mirror = await startMirror(t, torrent)
  const { code, stdout } = await diagnose(t, [torrent.infohash], { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: `${mirror.mirrorUrl},${new URL(mirror.webSeed).origin}/none/{hash}` })
  t.equal(code, 0)
  t.match(stdout, /^ok {2}metadata +film\.mp4: 1 file, film\.mp4 \([\d.]+ MB\) would play$/m)
  t.match(stdout, /^ok {2}mirrors .* has it \(206\)$/m)
  t.match(stdout, /^no {2}mirrors .*: status 404$/m)
})

t.test('offline it says so, and that nothing could play it', async (t) => {
  const closed = await freePort()
  const { code, stdout } = await diagnose(t, [nobodys], { TRACKERS: `http://127.0.0.1:${closed}/announce`, STUN_SERVERS: 'nobody.invalid:3478' })
  t.equal(code, 1)
  t.match(stdout, /^no {2}trackers +http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/m)
  t.match(stdout, /^no {2}network .*offline/m)
  t.match(stdout, /^no {2}verdict +nothing here could play it$/m)
})

t.test('a tracker that answers leaves it to the swarm', async (t) => {
  const socket = createSocket('udp4')
  socket.on('message', (message, { port, address }) => { socket.send(Buffer.concat([Buffer.alloc(4), message.subarray(12, 16), Buffer.alloc(8)]), port, address) })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  const { code, stdout } = await diagnose(t, [nobodys], { TRACKERS: `udp://127.0.0.1:${socket.address().port}` })
  t.equal(code, 0)
  t.match(stdout, /^ok {2}trackers +udp:\/\/127\.0\.0\.1:\d+ answers$/m)
  t.match(stdout, /^-- {2}verdict +it plays if the swarm has peers/m)
})

t.test('a server that runs is asked what it knows', async (t) => {
  const server = await startServer(t, { ENABLE_P2P: 'false' })
  await fetch(`${server.url}/stream/proxy/${nobodys}`)
  const { stdout } = await diagnose(t, [nobodys], { PORT: String(server.port), ENABLE_P2P: 'false' }, dirname(server.directory))
  t.match(stdout, /^ok {2}server +it runs, and is ok$/m)
  t.match(stdout, /^no {2}server +of this it says: failed, /m)
})
