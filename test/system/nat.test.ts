import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import type { NetworkReport } from '../../services/nat/network-report.ts'
import { startStunServer } from '../coturn.ts'
import { startLab } from '../lab.ts'
import type { LabHost, NatKind } from '../lab.ts'
import { hasStarted, missing, temporaryDirectory, testWith, until } from '../testnet.ts'

/** The kind of NAT, found out behind NATs of the kernel with STUN servers and DHT nodes that others have written. */

const probe = fileURLToPath(new URL('../nat-probe.ts', import.meta.url))
const index = fileURLToPath(new URL('../../index.js', import.meta.url))
const port = 6_881
const kinds = ['none', 'full cone', 'address restricted', 'port restricted', 'symmetric'] as const satisfies NatKind[]

/** Nodes of a DHT by libtorrent, one on each address: they tell who asks them where they see it (BEP 42). */
const dhtNodes = `
import libtorrent as lt, sys
sessions = [lt.session({"listen_interfaces": a + ":6881", "enable_dht": True, "enable_lsd": False, "enable_upnp": False, "enable_natpmp": False,
  "dht_bootstrap_nodes": ",".join(b + ":6881" for b in sys.argv[1:] if b != a)}) for a in sys.argv[1:]]
print("ready", flush=True)
sys.stdin.read()
`

interface Found extends Pick<NetworkReport, 'verdict' | 'publicEndpoint'> {
  readonly bindMs: number
}

async function detect (host: LabHost, servers: readonly string[]): Promise<Found> {
  return JSON.parse(await host.run(process.execPath, [probe, String(port), ...servers]))
}

/** The server in a namespace, as people start it, and what it says to curl there. */
async function startServer (t: Test, host: LabHost, env: Record<string, string>): Promise<(path: string) => Promise<{ data: NetworkReport & { state: string }, reasons: Array<{ message: string }> }>> {
  const cwd = await temporaryDirectory(t)
  const server = host.spawn(process.execPath, [index], {
    cwd,
    env: { PORT: '11470', TORRENT_PORT: String(port), TORRENT_DOWNLOAD_PATH: join(cwd, 'cache'), ENABLE_PORT_MAPPING: 'false', TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', TORRENT_METADATA_URLS: 'none', ...env }
  })
  server.stderr?.resume()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let output = ''
  server.stdout?.on('data', (chunk: Buffer) => {
    output += chunk.toString()
    if (output.includes('Server listening on port')) resolve()
  })
  void once(server, 'exit').then(() => { reject(new Error(`the server ended: ${output}`)) })
  await promise
  return async (path) => JSON.parse(await host.run('curl', ['-s', `http://127.0.0.1:11470${path}`]))
}

testWith(t, 'a STUN server with two addresses tells every kind of NAT for sure', async (t) => {
  const lab = await startLab(t)
  const stun = await startStunServer(t, await lab.host({ addresses: 2 }))
  await Promise.all(kinds.map(async (nat) => {
    const host = await lab.host({ nat })
    const { verdict, publicEndpoint, bindMs } = await detect(host, [stun])
    t.match(verdict, { kind: nat === 'none' ? 'no NAT' : nat, confidence: 'high', sources: ['rfc5780'], isPending: false }, nat)
    t.same(publicEndpoint, { address: host.publicAddress, port: nat === 'symmetric' ? null : port, source: 'stun' }, nat)
    t.ok(bindMs < 1_000, `the port was waited for ${Math.round(bindMs)} ms`)
  }))
})

testWith(t, 'two plain STUN servers tell a symmetric NAT from others, which is less than the kind', async (t) => {
  const lab = await startLab(t)
  const servers = [await startStunServer(t, await lab.host()), await startStunServer(t, await lab.host())]
  const expected = { none: ['no NAT', 'medium'], 'full cone': ['port restricted', 'low'], 'address restricted': ['port restricted', 'low'], 'port restricted': ['port restricted', 'low'], symmetric: ['symmetric', 'medium'] }
  await Promise.all(kinds.map(async (nat) => {
    const host = await lab.host({ nat })
    const [kind, confidence] = expected[nat]
    const { verdict, publicEndpoint } = await detect(host, servers)
    t.match(verdict, { kind, confidence, filtering: null, sources: ['stun'] }, nat)
    t.equal(publicEndpoint?.address, host.publicAddress)
  }))
})

testWith(t, 'no UDP gets out -> UDP blocked, known without a long wait, and a refused stream says so', async (t) => {
  const lab = await startLab(t)
  const servers = [await startStunServer(t, await lab.host({ addresses: 2 })), await startStunServer(t, await lab.host())]
  const host = await lab.host({ blocksUdp: true, nat: 'port restricted' })
  const { verdict, publicEndpoint, bindMs } = await detect(host, servers)
  t.match(verdict, { kind: 'UDP blocked', confidence: 'low' })
  t.equal(publicEndpoint, null)
  t.ok(bindMs < 1_000, `the port was waited for ${Math.round(bindMs)} ms`)

  const ask = await startServer(t, host, { STUN_SERVERS: servers.join(), DHT_BOOTSTRAP: servers.map((server) => server.replace('3478', '6881')).join(), P2P_TIMEOUT: '1000', START_TIMEOUT: '3000' })
  const { data } = await until('the silence of the DHT is noticed, too', async () => {
    const body = await ask('/api/network')
    return body.data.verdict.confidence === 'medium' ? body : null
  })
  t.match(data, { state: 'ready', verdict: { kind: 'UDP blocked', isPending: false }, ports: { tcp: port }, advice: /^Allow outgoing UDP/ })
  const { reasons } = await ask('/stream/proxy/dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c')
  t.ok(reasons.some(({ message }) => /UDP is blocked in this network/.test(message)), JSON.stringify(reasons))
})

testWith(t, 'the server behind a NAT says which one it is, where others see it, and what to do', async (t) => {
  const lab = await startLab(t)
  const stun = await startStunServer(t, await lab.host({ addresses: 2 }))
  await Promise.all((['port restricted', 'symmetric'] as const).map(async (nat) => {
    const host = await lab.host({ nat })
    const ask = await startServer(t, host, { STUN_SERVERS: stun })
    const { data } = await until('the tests are over', async () => {
      const body = await ask('/api/network')
      return body.data.state === 'ready' && !body.data.verdict.isPending ? body : null
    })
    t.match(data, {
      verdict: { kind: nat, confidence: 'high' },
      publicEndpoint: { address: host.publicAddress, port: nat === 'symmetric' ? null : port, source: 'stun' },
      localAddresses: [host.address],
      ports: { tcp: port },
      advice: new RegExp(`^Forward port ${port}, TCP and UDP, to ${host.address} in the router`)
    })
  }))
})

testWith(t, 'without STUN, nodes of the DHT tell', async (t) => {
  const lab = await startLab(t)
  const nodes = await lab.host({ addresses: 4 })
  const child = nodes.spawn('/usr/bin/python3', ['-c', dhtNodes, ...nodes.addresses])
  if (!await hasStarted(child) || child.stdout === null) throw missing('python3-libtorrent')
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw missing('python3-libtorrent') })])
  const expected = { none: 'no NAT', 'port restricted': 'port restricted', symmetric: 'symmetric' }
  await Promise.all((['none', 'port restricted', 'symmetric'] as const).map(async (nat) => {
    const host = await lab.host({ nat })
    const ask = await startServer(t, host, { DHT_BOOTSTRAP: nodes.addresses.map((address) => `${address}:6881`).join() })
    const { data } = await until('they have told', async () => {
      const body = await ask('/api/network')
      return body.data.verdict.kind !== 'unknown' ? body : null
    })
    t.match(data, { verdict: { kind: expected[nat], sources: ['dht'] }, publicEndpoint: { address: host.publicAddress, port: nat === 'symmetric' ? null : port, source: 'dht' } }, nat)
  }))
})
