import t from 'tap'
import { gzipSync } from 'node:zlib'
import { decode, encode } from '../../../services/torrent/bencode.ts'
import { HttpTracker, peersOf } from '../../../services/swarm/http-tracker.ts'
import { startTracker, until } from '../../testnet.ts'
import { openFetcher, serve } from '../download/origin.ts'
import type { Test } from 'tap'
import type { Fetcher } from '../../../services/download/fetcher.ts'
import type { Encodable } from '../../../services/torrent/bencode.ts'

const infohash = '00ff20257e2d4142434445464748494a4b4c4d4e'
const announcement = () => ({ infohash, peerId: Buffer.from('-SS0001-0123456789ab').toString('hex'), port: 6881, uploaded: 1, downloaded: 2, left: 3, userAgent: 'test/1' })

interface Asked {
  readonly tracker: HttpTracker
  readonly peers: string[]
  readonly problems: string[]
}

function ask (t: Test, fetcher: Fetcher, url: URL, isTrusted = true): Asked {
  const peers: string[] = []
  const problems: string[] = []
  const tracker = new HttpTracker({ url, isTrusted, fetcher, announcement, onPeer: (peer) => { peers.push(peer) }, onAnswer () {}, onProblem: (message) => { problems.push(message) } })
  t.teardown(async () => { await tracker.stop() })
  tracker.start()
  return { tracker, peers, problems }
}

function bencoded (entries: Record<string, Encodable>): Buffer {
  return encode(new Map(Object.entries(entries)))
}

function peersIn (entries: Record<string, Encodable>): string[] {
  const { value } = decode(bencoded(entries))
  return value instanceof Map ? peersOf(value) : []
}

t.test('a real tracker: start, update, complete, stop', async (t) => {
  const real = await startTracker(t)
  const { tracker } = ask(t, openFetcher(t), new URL(real.url))
  await until('it knows us', () => real.peersOf(infohash).length === 1)
  t.same(real.peersOf(infohash), ['127.0.0.1:6881'])
  const events = () => real.events.map(({ event }) => event)
  await until('it answered, and is asked once more', () => { tracker.update(); return events().length >= 2 })
  t.equal(events()[1], 'update')
  tracker.complete()
  await until('it knows that we are complete', () => events().includes('complete'))
  await tracker.stop()
  t.equal(events().at(-1), 'stop')
  t.ok(real.events.every((event) => event.infohash === infohash))
})

t.test('what is sent: every byte of the infohash, the query of the URL kept', async (t) => {
  const { url, requests } = await serve(t, (_request, response) => { response.end(bencoded({ interval: 1800, peers: Buffer.from('01020304045708080808ffff', 'hex'), 'tracker id': 'a&b' })) })
  const { tracker, peers } = ask(t, openFetcher(t), new URL('/announce?passkey=x%20y', url))
  await until('peers came', () => peers.length === 2)
  t.strictSame(peers, ['1.2.3.4:1111', '8.8.8.8:65535'])
  t.equal(requests[0], '/announce?passkey=x%20y&info_hash=%00%FF%20%25~-ABCDEFGHIJKLMN&peer_id=-SS0001-0123456789ab&port=6881&uploaded=1&downloaded=2&left=3&compact=1&numwant=50&event=started')
  await tracker.stop()
  t.match(requests[1], /&numwant=0&event=stopped&trackerid=a%26b$/)
})

t.test('peers in each form that trackers use; what is none is left out', async (t) => {
  t.strictSame(peersIn({ peers: Buffer.from('0102030404', 'hex') }), [])
  t.strictSame(peersIn({ peers6: Buffer.from('260647000000000000000000000000011ae1', 'hex') }), ['[2606:4700:0000:0000:0000:0000:0000:0001]:6881'])
  const dictionary = (ip: Encodable, port: Encodable): Encodable => new Map<string, Encodable>([['ip', ip], ['port', port]])
  t.strictSame(peersIn({ peers: [dictionary('1.2.3.4', 5), dictionary('2606::1', 6), dictionary(5, 5), dictionary('x', 'y'), dictionary('9'.repeat(99), 1), 'nonsense', 7] }), ['1.2.3.4:5', '[2606::1]:6'])
  t.equal(peersIn({ peers: Buffer.alloc(60_000) }).length, 1000)
  t.strictSame(peersIn({ peers: 5, peers6: [] }), [])
})

t.test('a tracker that misbehaves is a problem with a reason, never an exception', async (t) => {
  const cases: ReadonlyArray<readonly [path: string, body: Buffer, problem: RegExp]> = [
    ['/garbage', Buffer.from('<html>'), /./],
    ['/list', Buffer.from('le'), /no dictionary/],
    ['/empty', Buffer.alloc(0), /./],
    ['/failure', bencoded({ 'failure reason': 'not registered' }), /not registered/],
    ['/large', Buffer.alloc(3_000_000, '1'), /larger than/],
    ['/deep', Buffer.from('l'.repeat(100_000)), /./],
    ['/gzip', gzipSync(bencoded({ peers: '' })), /./]
  ]
  const { url } = await serve(t, (request, response) => {
    const path = request.url?.split('?')[0]
    if (path === '/cut') response.writeHead(200, { 'content-length': 100 }).write('d8:interval', () => { response.destroy() })
    else if (path === '/404') response.writeHead(404).end('no')
    else response.end(cases.find((each) => each[0] === path)?.[1])
  })
  const fetcher = openFetcher(t)
  for (const [path, , problem] of [...cases, ['/cut', null, /./], ['/404', null, /status 404/]] as const) {
    const { problems, peers } = ask(t, fetcher, new URL(path, url))
    await until(`${path} is told`, () => problems.length > 0)
    t.match(problems[0], problem, path)
    t.strictSame(peers, [])
  }
})

t.test('a stranger\'s tracker on this machine is not asked, a trusted one that redirects there is not followed', async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    if (request.url?.startsWith('/redirect') === true) response.writeHead(302, { location: '/secret' }).end()
    else response.end(bencoded({ peers: '' }))
  })
  const fetcher = openFetcher(t)
  for (const target of [url.href, url.href.replace('127.0.0.1', 'localhost')]) {
    const { problems } = ask(t, fetcher, new URL(target), false)
    await until('it is told', () => problems.length > 0)
  }
  const { problems } = ask(t, fetcher, new URL('/redirect', url))
  await until('it is told', () => problems.length > 0)
  t.match(problems[0], /127\.0\.0\.1/)
  t.ok(requests.length === 1 && requests[0]?.startsWith('/redirect') === true)
})
