import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import type { Test } from 'tap'
import { choosePort } from '../../services/swarm/ports.ts'
import { jsonFrom } from '../helper.ts'
import { startServer, swarmOf } from '../server-process.ts'
import type { ServerProcess } from '../server-process.ts'
import { makeTorrent, startSeeder, testBytes, testWith, until } from '../testnet.ts'
import type { SeederChoices } from '../testnet.ts'

/** One number for everything, as on a panel with one allocation: HTTP, BitTorrent over TCP, uTP and the DHT. */

const film = await makeTorrent({ 'Film.mp4': testBytes(6_000_000, 'one port') }, { pieceLength: 131_072 })
const [{ bytes } = { bytes: Buffer.alloc(0) }] = film.files

/** Nobody is trusted for being near where a panel runs us. */
const token = 'a-token-of-the-panel'

async function startOnePort (t: Test, env: Record<string, string> = {}): Promise<ServerProcess> {
  const port = String(await choosePort([0], { tcp: true, udp: true }))
  const server = await startServer(t, { P_SERVER_UUID: 'a-panel', API_TOKEN: token, SERVER_PORT: port, TORRENT_PORT: '', HOST: '0.0.0.0', HTTP_ALLOW_PRIVATE_NETWORKS: 'true', ENABLE_HTTP_FALLBACK: 'false', LOG_LEVEL: 'debug', ...env })
  await until('the swarm is ready', async () => (await network(server)).data.ports.utp !== null)
  return server
}

async function network ({ url }: ServerProcess): Promise<any> { // eslint-disable-line @typescript-eslint/no-explicit-any
  return (await jsonFrom(`${url}/api/network`, { headers: { Authorization: `Bearer ${token}` } })).body
}

const ways: Array<{ name: string, seeder: SeederChoices }> = [
  { name: 'TCP', seeder: { transport: 'tcp', encryption: 'off' } },
  { name: 'encrypted TCP', seeder: { transport: 'tcp', encryption: 'forced' } },
  { name: 'uTP', seeder: { transport: 'utp' } }
]

for (const { name, seeder } of ways) {
  testWith(t, `one port: a seeder that comes in by ${name} is all there is -> the film plays, while HTTP answers on the same port`, async (t) => {
    const server = await startOnePort(t)
    const { port, url } = server
    t.match((await network(server)).data.ports, { tcp: port, utp: port, dht: port, isOnePort: true, missing: [] })
    const response = fetch(`${url}/stream/proxy/${film.infohash}`)
    await until('the torrent has joined its swarm', async () => (await jsonFrom(`${url}/stream/status/${film.infohash}`)).body.state === 'starting')
    // Nobody tells us of it: it has to come by itself.
    await startSeeder(t, film, { ...seeder, peers: [`127.0.0.1:${port}`] })
    const over = new AbortController()
    let answers = 0
    const asking = (async () => {
      while (!over.signal.aborted) {
        if ((await fetch(`${url}/health`)).status === 200) answers++
        await sleep(5)
      }
    })()
    const answer = await response
    t.equal(answer.status, 200)
    const got = Buffer.from(await answer.arrayBuffer())
    over.abort()
    await asking
    t.ok(got.equals(bytes), `${got.length} bytes are equal`)
    t.ok(answers > 0, `${answers} other requests were answered meanwhile`)
  })
}

testWith(t, 'one port: the DHT answers on it', async (t) => {
  const { port } = await startOnePort(t)
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  socket.send('d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe', port, '127.0.0.1')
  const [answer] = await once(socket, 'message', { signal: AbortSignal.timeout(5_000) })
  t.match(String(answer), /^d1:rd2:id20:/)
})

testWith(t, 'one port, and the swarm process is gone: peers are turned away, HTTP answers, and a new process takes them', async (t) => {
  const server = await startOnePort(t)
  const { port, url, pid } = server
  process.kill(await swarmOf({ pid }), 'SIGKILL')
  const socket = connect(port, '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  const closed = new Promise((resolve) => { socket.once('close', resolve) })
  await until('the process is gone', async () => (await network(server)).data.ports.utp === null)
  socket.write('\x13BitTorrent protocol')
  await closed
  t.equal((await fetch(`${url}/health`)).status, 200)
  await until('a new one listens on the same port', async () => (await network(server)).data.ports.utp === port)
})

testWith(t, 'one port: the server stops in time with peers connected, and with clients that said nothing', async (t) => {
  const server = await startOnePort(t)
  const { port, url } = server
  void fetch(`${url}/stream/proxy/${film.infohash}`).catch(() => {})
  await until('the torrent has joined its swarm', async () => (await jsonFrom(`${url}/stream/status/${film.infohash}`)).body.state === 'starting')
  const leech = await startSeeder(t, film, { transport: 'tcp', isLeech: true, peers: [`127.0.0.1:${port}`] })
  await until('it is connected', async () => (await leech.counts()).peers === 1)
  const silent = connect(port, '127.0.0.1')
  silent.on('error', () => {})
  await once(silent, 'connect')
  const startedAt = performance.now()
  t.equal(await server.stop('SIGTERM'), 0)
  t.ok(performance.now() - startedAt < 4_500, `${Math.round(performance.now() - startedAt)} ms`)
})
