import { once } from 'node:events'
import t from 'tap'
import type { Wire } from 'webtorrent'
import { Network } from '../../../services/swarm/network.ts'
import { Sightings } from '../../../services/swarm/sightings.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'

const film = await makeTorrent({ 'film.mkv': testBytes(100_000, 'film') })
const options = { stunServers: [], allowPrivateNetworks: true, isPanel: false }

t.test('three peers say where they see us -> that is our address; who was dialled counts as one who came', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const there = new Network(() => {})
  const watching = new Sightings(there, options)
  seed.torrent.on('wire', (wire: Wire) => {
    watching.onWire(seed.torrent, wire)
    wire.extendedHandshake['yourip'] = Buffer.from([45, 67, 1, 2])
  })
  const client = await startClient(t, { utp: false })
  const torrent = client.add(`magnet:?xt=urn:btih:${film.infohash}`, { path: await temporaryDirectory(t) })
  await once(torrent, 'infoHash', { signal: AbortSignal.timeout(20_000) })
  const here = new Network(() => {})
  const sightings = new Sightings(here, options)
  torrent.on('wire', (wire: Wire) => { sightings.onWire(torrent, wire) })
  const port = seed.address.split(':')[1] ?? ''
  for (const host of ['127.0.0.1', '127.0.0.2', '127.0.0.3']) torrent.addPeer(`${host}:${port}`)
  await until('all have said so', () => here.report.publicEndpoint?.source === 'peers')
  t.match(here.report, { publicEndpoint: { address: '45.67.1.2', port: null }, verdict: { sources: ['peers'] }, inbound: { tcp: { count: 0 }, utp: { count: 0 } } })
  t.match(there.report, { inbound: { tcp: { count: 3 }, utp: { count: 0 } }, advice: 'Nothing needs to be done: peers reach this server.' })
})

t.test('nodes of the DHT say it in six bytes; anything else is not taken for an address', async (t) => {
  const network = new Network(() => {})
  const sightings = new Sightings(network, options)
  for (const ip of [Buffer.alloc(0), Buffer.alloc(18, 1), 'no bytes', 7, null, ['x']]) sightings.onNode('1.0.0.1', { ip })
  t.match(network.report, { publicEndpoint: null })
  for (let i = 2; i < 5; i++) sightings.onNode(`1.0.0.${i}`, { ip: Buffer.from([45, 67, 1, 2, 0x1a, 0xe1]) })
  t.match(network.report, { publicEndpoint: { address: '45.67.1.2', source: 'dht' }, verdict: { mapping: 'endpoint-independent' } })
})
