import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { NetworkReport } from '../../services/nat/network-report.ts'
import { startLab } from '../lab.ts'
import { startLabServer } from '../lab-server.ts'
import type { LabServer } from '../lab-server.ts'
import { startRouter } from '../miniupnpd.ts'
import { makeTorrent, startSeeder, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'

/** Ports that miniupnpd forwards: by UPnP, PCP and NAT-PMP. */

const probe = fileURLToPath(new URL('../mapping-probe.ts', import.meta.url))
const film = await makeTorrent({ 'Film.mp4': testBytes(3_000_000, 'port mapping') }, { pieceLength: 131_072 })

async function mapping (server: LabServer): Promise<NonNullable<NetworkReport['mapping']>> {
  return await until('the router has answered', async () => {
    const { mapping } = await server.network()
    return mapping === null || mapping.state === 'asking' ? null : mapping
  })
}

for (const way of ['upnp', 'pcp'] as const) {
  testWith(t, `${way}: a peer outside comes in through the port that the router forwards, also after the swarm has died; a stop closes it`, async (t) => {
    const lab = await startLab(t)
    const outside = await lab.host()
    const host = await lab.host({ nat: 'port restricted' })
    const router = await startRouter(t, host.gateway, { upnp: way === 'upnp', pcp: way === 'pcp' })
    const server = await startLabServer(t, host)
    t.match(await mapping(server), { state: 'mapped', protocol: way === 'upnp' ? 'UPnP' : 'PCP', externalAddress: host.publicAddress, externalTcpPort: 6881, externalUdpPort: 6881, expiresAt: /Z$/, reason: '' })
    const forwards = [`tcp 6881 -> ${host.address}:6881`, `udp 6881 -> ${host.address}:6881`]
    t.same(await router.forwards(), forwards)

    const [swarm = ''] = (await readFile(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8')).trim().split(' ')
    process.kill(Number(swarm), 'SIGKILL')
    await until('the swarm is gone', async () => (await server.network()).ports.tcp === null)
    t.match(await mapping(server), { state: 'mapped', externalTcpPort: 6881 })
    t.same(await router.forwards(), forwards)

    const path = join(await temporaryDirectory(t), 'film')
    const streamed = host.run('curl', ['-s', '-f', '-o', path, `http://127.0.0.1:11470/stream/proxy/${film.infohash}`])
    await until('the torrent has joined its swarm', async () => JSON.parse(await server.get(`/stream/status/${film.infohash}`)).state === 'starting')
    // Nobody tells the server of it.
    const seeder = await startSeeder(t, film, { transport: way === 'upnp' ? 'tcp' : 'utp', address: outside.address, port: 5_000, peers: [`${host.publicAddress}:6881`], start: (args) => outside.spawn('/usr/bin/python3', args) })
    await streamed
    t.equal(sha1(await readFile(path)), sha1(film.files[0]?.bytes ?? Buffer.alloc(0)), 'the film has arrived')
    t.ok((await seeder.counts()).uploaded >= 3_000_000)
    await until('it is seen as a stranger that came by itself', async () => (await server.network()).inbound[way === 'upnp' ? 'tcp' : 'utp'].count === 1)
    t.match((await server.network()).advice, 'Nothing needs to be done')
    t.match(server.output(), `the router forwards ${host.publicAddress} port 6881`)

    const startedAt = performance.now()
    await server.stop('SIGTERM')
    t.ok(performance.now() - startedAt < 4_500)
    t.same(await router.forwards(), [])
  })
}

/** A neighbour behind the same router has it forward this port (NAT-PMP). */
const takePort = `
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 0)); s.settimeout(10)
for opcode in (1, 2):
    s.sendto(bytes([0, opcode, 0, 0]) + struct.pack(">HHI", int(sys.argv[3]), int(sys.argv[3]), 3600), (sys.argv[2], 5351))
    print(struct.unpack(">H", s.recv(100)[2:4])[0])
`

testWith(t, 'somebody else behind the router has the port -> another one, and that is told to trackers', async (t) => {
  const lab = await startLab(t)
  const outside = await lab.host()
  const host = await lab.host({ nat: 'port restricted' })
  const router = await startRouter(t, host.gateway, { upnp: false })
  const neighbour = host.address.replace(/\d+$/, '3')
  await host.run('ip', ['addr', 'add', `${neighbour}/24`, 'dev', 'eth'])
  t.equal(await host.run('/usr/bin/python3', ['-c', takePort, neighbour, host.address.replace(/\d+$/, '1'), '6881']), '0\n0\n')
  const tracker = outside.spawn(process.execPath, ['--input-type=module', '-e', `
    import { createServer } from 'node:http'
    createServer((request, response) => {
      process.stdout.write(new URL(request.url, 'http://x').searchParams.get('port') + '\\n')
      response.end('d8:intervali1800e5:peers0:e')
    }).listen(80, '${outside.address}')`])
  const ports: string[] = []
  createInterface({ input: tracker.stdout ?? process.stdin }).on('line', (line) => { ports.push(line) })
  const server = await startLabServer(t, host, { TRACKERS: `http://${outside.address}/announce` })
  const { state, externalTcpPort, externalUdpPort, reason } = await mapping(server)
  t.same([state, reason], ['mapped', ''])
  t.ok(externalTcpPort !== null && externalTcpPort !== 6881, `it is ${externalTcpPort}`)
  t.equal(externalUdpPort, externalTcpPort)
  t.ok((await router.forwards()).includes(`tcp ${externalTcpPort} -> ${host.address}:6881`))
  void server.get(`/stream/proxy/${film.infohash}`).catch(() => {})
  await until('the tracker is asked', () => ports.length > 0)
  t.same(ports, [String(externalTcpPort)])
})

testWith(t, 'a port that HTTP shares is forwarded by UDP only, so that the server is not put on the internet', async (t) => {
  const lab = await startLab(t)
  const host = await lab.host({ nat: 'port restricted' })
  const router = await startRouter(t, host.gateway)
  const server = await startLabServer(t, host, { TORRENT_PORT: '11470' })
  t.match(await mapping(server), { state: 'mapped', externalTcpPort: null, externalUdpPort: 11470 })
  t.same(await router.forwards(), [`udp 11470 -> ${host.address}:11470`])
})

testWith(t, 'a lease is renewed for as long as we live, and ends by itself when we are killed', async (t) => {
  await Promise.all(['upnp', 'pcp', 'nat-pmp'].map(async (way) => {
    const lab = await startLab(t)
    const host = await lab.host({ nat: 'port restricted' })
    const router = await startRouter(t, host.gateway, { upnp: way === 'upnp', pcp: way !== 'upnp' })
    const child = host.spawn(process.execPath, [probe, '7000', '3', way])
    const lines = createInterface({ input: child.stdout ?? process.stdin })[Symbol.asyncIterator]()
    let mapped = 0
    // Longer than two leases.
    for (const startedAt = performance.now(); performance.now() - startedAt < 7_000;) {
      const { value } = await lines.next()
      const status: Partial<NetworkReport['mapping']> = JSON.parse(value ?? '{}')
      if (status?.state === 'failed') t.fail(`${way} failed: ${status.reason}`)
      if (status?.state === 'mapped') mapped++
    }
    t.ok(mapped >= 4, `${way}: ${mapped} times`)
    t.same(await router.forwards(), [`tcp 7000 -> ${host.address}:7000`, `udp 7000 -> ${host.address}:7000`])
    if (way === 'pcp') {
      child.stdin?.end()
      await once(child, 'exit')
      t.same(await router.forwards(), [], 'taken back at the end')
    } else {
      child.kill('SIGKILL')
      await until('the lease is over', async () => (await router.forwards()).length === 0)
    }
  }))
})

function sha1 (bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex')
}
