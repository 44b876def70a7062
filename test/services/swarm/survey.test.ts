import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import t from 'tap'
import { Client as DhtClient } from 'bittorrent-dht'
import { Server as TrackerServer } from 'bittorrent-tracker'
import { survey } from '../../../services/swarm/survey.ts'
import { encode } from '../../../services/torrent/bencode.ts'
import { startDht } from '../../testnet.ts'
import { openFetcher, serve } from '../download/origin.ts'
import type { Test } from 'tap'
import type { Survey, SurveyOptions } from '../../../services/swarm/survey.ts'

const infohash = '00ff20257e2d4142434445464748494a4b4c4d4e'

/** A tracker on loopback that knows these peers of the torrent, each seed or not; and what it was announced since. */
async function startTracker (t: Test, peers: readonly boolean[]): Promise<{ url: string, announces: string[] }> {
  const server = new TrackerServer({ http: true, udp: false, ws: false, stats: false })
  server.on('warning', () => {})
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(async () => { await new Promise<void>(resolve => { server.close(resolve) }) })
  const address = server.http?.address()
  if (typeof address !== 'object' || address === null) throw new Error('no port')
  const hash = [...Buffer.from(infohash, 'hex')].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('')
  const url = `http://127.0.0.1:${address.port}/announce`
  for (const [i, isSeed] of peers.entries()) {
    await fetch(`${url}?info_hash=${hash}&peer_id=-SS0001-00000000000${i}&port=${7000 + i}&uploaded=0&downloaded=0&left=${isSeed ? 0 : 1}&compact=1&event=started`)
  }
  const announces: string[] = []
  for (const event of ['start', 'update', 'stop', 'complete']) server.on(event, () => { announces.push(event) })
  return { url, announces }
}

/** A UDP tracker (BEP 15) that answers connects and scrapes; and the actions that it was asked for. */
async function startUdpTracker (t: Test, { seeds, leechers }: { readonly seeds: number, readonly leechers: number }): Promise<{ url: string, actions: number[] }> {
  const socket = createSocket('udp4')
  const actions: number[] = []
  socket.on('message', (message, { port, address }) => {
    const action = message.readUInt32BE(8)
    const reply = Buffer.alloc(action === 0 ? 16 : 20)
    actions.push(action)
    reply.writeUInt32BE(action, 0)
    reply.writeUInt32BE(message.readUInt32BE(12), 4)
    if (action === 2 && message.subarray(16).toString('hex') === infohash) {
      reply.writeUInt32BE(seeds, 8)
      reply.writeUInt32BE(leechers, 16)
    }
    socket.send(reply, port, address)
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  return { url: `udp://127.0.0.1:${socket.address().port}/announce`, actions }
}

async function ask (t: Test, options: Partial<SurveyOptions>): Promise<Survey> {
  return await survey({ infohash, trackers: [], trusted: new Set(), allowPrivateNetworks: true, fetcher: openFetcher(t), dht: null, userAgent: 'test/1', ...options })
}

t.test('trackers tell how many seeds and leechers there are, over HTTP and UDP, and hear of no peer', async (t) => {
  const http = await startTracker(t, [true, true, false])
  const udp = await startUdpTracker(t, { seeds: 5, leechers: 7 })
  const told = { dhtPeers: null, trackersAsked: 1, trackersAnswered: 1 }
  t.same(await ask(t, { trackers: [http.url] }), { ...told, seeds: 2, leechers: 1 })
  t.same(await ask(t, { trackers: [udp.url] }), { ...told, seeds: 5, leechers: 7 })
  t.same(await ask(t, { trackers: [http.url], infohash: 'a'.repeat(40) }), { ...told, seeds: 0, leechers: 0 }, 'it knows of nobody')
  t.same(http.announces, [])
  t.same(udp.actions, [0, 2])
})

t.test('the tracker that knows of most counts; those that are dead, deaf, or talk nonsense cost no more than the time', async (t) => {
  const { url: http } = await startTracker(t, [true, false])
  const few = await startTracker(t, [true])
  const deaf = createSocket('udp4').bind(0, '127.0.0.1')
  await once(deaf, 'listening')
  t.teardown(() => { deaf.close() })
  const hash = Buffer.from(infohash, 'hex').toString('latin1')
  const nonsense = await serve(t, (request, response) => {
    const path = request.url?.split('?')[0]
    if (path === '/silent/scrape') return
    if (path === '/lies/scrape') response.end(Buffer.concat([Buffer.from('d5:filesd20:'), Buffer.from(hash, 'latin1'), Buffer.from('d8:completei-5e10:incomplete1:xeee')]))
    else response.end(path === '/failure/scrape' ? encode(new Map([['failure reason', 'no']])) : 'nonsense')
  })
  const at = (path: string): string => new URL(path, nonsense.url).href
  const before = performance.now()
  const { seeds, leechers, trackersAsked, trackersAnswered } = await ask(t, {
    trackers: ['wss://tracker.example', few.url, http, at('/silent/announce'), at('/lies/announce'), at('/failure/announce'), at('/other'), `udp://127.0.0.1:${deaf.address().port}`, 'nonsense', 'http://127.0.0.1:1/announce']
  })
  t.same({ seeds, leechers, trackersAsked, trackersAnswered }, { seeds: 1, leechers: 1, trackersAsked: 8, trackersAnswered: 3 })
  t.ok(performance.now() - before < 5000)
  t.notOk(nonsense.requests.some((request) => request.startsWith('/other')), 'that URL has nowhere to scrape')
})

t.test('what strangers name is asked at public addresses only; what the operator configured anywhere', async (t) => {
  const { url: http } = await startTracker(t, [true])
  const { url: udp } = await startUdpTracker(t, { seeds: 1, leechers: 0 })
  t.match(await ask(t, { trackers: [http, udp, 'udp://localhost:1'], allowPrivateNetworks: false }), { seeds: null, trackersAsked: 3, trackersAnswered: 0 })
  t.match(await ask(t, { trackers: [http, udp], trusted: new Set([http, udp]), allowPrivateNetworks: false }), { seeds: 1, trackersAnswered: 2 })
})

t.test('the DHT tells who has it', async (t) => {
  const { bootstrap } = await startDht(t, 4)
  const open = async (): Promise<DhtClient> => {
    const node = new DhtClient({ bootstrap })
    node.on('error', () => {})
    t.teardown(async () => { await new Promise<void>(resolve => { node.destroy(resolve) }) })
    await new Promise<void>(resolve => { node.listen(0, '127.0.0.1', resolve) })
    if (!node.ready) await once(node, 'ready')
    return node
  }
  const announcer = await open()
  await new Promise<void>((resolve) => { Reflect.get(announcer, 'announce').call(announcer, infohash, 7777, () => { resolve() }) })
  const dht = await open()
  t.match(await ask(t, { dht }), { seeds: null, leechers: null, dhtPeers: 1 })
  t.match(await ask(t, { dht, infohash: 'b'.repeat(40) }), { dhtPeers: 0 })
  t.equal(dht.listenerCount('peer'), 0)
})
