import t from 'tap'
import { formatMagnet, parseMagnet } from '../../../services/torrent/magnet.ts'
import { fixture, parseTorrent } from './oracles.ts'
import type { Magnet } from '../../../services/torrent/magnet.ts'

const hash = '08ada5a7a6183aae1e09d831df6748d566095a10'
const base = `magnet:?xt=urn:btih:${hash}`
const nothing = { name: null, trackers: [], exactSources: [], webSeeds: [], acceptableSources: [], peers: [], selectOnly: [] }

t.test('reads the magnet link of a free torrent', async t => {
  t.same(parseMagnet(`${base}&dn=Sintel&tr=udp%3A%2F%2Fexplodie.org%3A6969&tr=udp%3A%2F%2Ftracker.opentrackr.org%3A1337&tr=wss%3A%2F%2Ftracker.btorrent.xyz` +
    '&ws=https%3A%2F%2Fwebtorrent.io%2Ftorrents%2F&xs=https%3A%2F%2Fwebtorrent.io%2Ftorrents%2Fsintel.torrent'), {
    ...nothing,
    infohash: hash,
    name: 'Sintel',
    trackers: ['udp://explodie.org:6969', 'udp://tracker.opentrackr.org:1337', 'wss://tracker.btorrent.xyz'],
    exactSources: ['https://webtorrent.io/torrents/sintel.torrent'],
    webSeeds: ['https://webtorrent.io/torrents/']
  })
})

t.test('reads the links of the fixtures as parse-torrent does', async t => {
  for (const name of ['leaves', 'alice', 'numbers', 'bunny', 'sintel']) {
    const { magnetURI } = fixture(name)
    const oracle = await parseTorrent(magnetURI)
    t.match(parseMagnet(magnetURI), { infohash: oracle.infoHash, name: oracle.name, trackers: oracle.announce, webSeeds: oracle.urlList })
  }
})

t.test('the infohash may be upper case or base32, and stand among other topics', async t => {
  for (const uri of [
    `magnet:?xt=urn:btih:${hash.toUpperCase()}`, `MAGNET:?XT=URN:BTIH:${hash}`, 'magnet:?xt=urn:btih:BCW2LJ5GDA5K4HQJ3AY56Z2I2VTASWQQ',
    `magnet:?xt.1=urn:sha1:abc&xt.2=urn:btih:${hash}`, `magnet:?dn=x&xt=urn:btmh:1220${'a'.repeat(64)}&xt=urn:btih:${hash}`,
    `magnet:?xt=urn%3Abtih%3A${hash}`, ` magnet:?xt=urn:btih:${hash}\n`, `magnet:?xt=urn:btih:tooshort&xt=urn:btih:${hash}`
  ]) t.equal(parseMagnet(uri).infohash, hash, uri)
})

t.test('a value keeps its raw = and is read as far as it goes when badly encoded', async t => {
  t.same(parseMagnet(`${base}&ws=http://h.example/f?a=b`).webSeeds, ['http://h.example/f?a=b'])
  t.same(parseMagnet(`${base}&xs=http://h.example/get?id=1==&as=http://h.example/f?a=b=c`), { ...nothing, infohash: hash, exactSources: ['http://h.example/get?id=1=='], acceptableSources: ['http://h.example/f?a=b=c'] })
  t.same(parseMagnet(`${base}&tr=http://t.example/announce?key=a==&tr=http://t.example/a+b`).trackers, ['http://t.example/announce?key=a==', 'http://t.example/a+b'])
  t.equal(parseMagnet(`${base}&dn=100%+of%20it%zz`).name, '100% of it%zz')
  t.equal(parseMagnet(`${base}&dn=%ff%d7%a9`).name, '\ufffdש')
  t.equal(parseMagnet(`${base}&dn=C%2B%2B+in+a+day`).name, 'C++ in a day')
  t.equal(parseMagnet(`${base}&dn=a#b?c`).name, 'a#b?c')
  t.equal(parseMagnet(`${base}&dn=&dn=second`).name, 'second')
  t.equal(parseMagnet(`${base}&dn`).name, null)
})

t.test('a link copied out of HTML, with numbered parameters or unknown ones is read', async t => {
  const magnet = parseMagnet(`${base}&amp;dn=x&amp;tr.1=udp://a.example:1&tr.2=udp://b.example:1&__proto__=1&constructor=2&&=&kt=a+b&x.unknown=1`)
  t.same(magnet, { ...nothing, infohash: hash, name: 'x', trackers: ['udp://a.example:1', 'udp://b.example:1'] })
})

t.test('trackers: at most 20, unlike ones, of schemes that are trackers', async t => {
  const many = Array.from({ length: 50 }, (_, i) => `&tr=udp://t${i % 30}.example:1`).join('')
  const { trackers } = parseMagnet(`${base}&tr=file:///etc/passwd&tr=/etc/passwd&tr=dht://x&tr=javascript:alert(1)&tr=&tr=udp://t0.example:1${many}`)
  t.same(trackers, Array.from({ length: 20 }, (_, i) => `udp://t${i}.example:1`))
})

t.test('sources and seeds: http(s) without credentials', async t => {
  const magnet = parseMagnet(`${base}&xs=urn:btpk:${'a'.repeat(64)}&xs=file:///etc/passwd&xs=http://user:pw@x.example/a&xs=http://x.example/a.torrent` +
    '&as=https://x.example/a.mp4&ws=http://x.example/&ws=ftp://x.example/&as=http://x.example/')
  t.same(magnet.exactSources, ['http://x.example/a.torrent'])
  t.same(magnet.webSeeds, ['http://x.example/'])
  t.same(magnet.acceptableSources, ['https://x.example/a.mp4', 'http://x.example/'])
})

t.test('peers: an address or name with a port', async t => {
  const { peers } = parseMagnet(`${base}&x.pe=1.2.3.4:6881&x.pe=1.2.3.4:6881&x.pe=[2001:db8::1]:51413&x.pe=peer.example%3A1` +
    '&x.pe=1.2.3.4&x.pe=1.2.3.4:0&x.pe=1.2.3.4:65536&x.pe=a b:1&x.pe=2001:db8::1:5&x.pe=:80&x.pe=http://x.example:80&x.pe=')
  t.same(peers, ['1.2.3.4:6881', '[2001:db8::1]:51413', 'peer.example:1'])
  t.equal(parseMagnet(base + Array.from({ length: 200 }, (_, i) => `&x.pe=1.2.3.4:${i + 1}`).join('')).peers.length, 50)
})

t.test('the choice of files (BEP 53): single ones and ranges, as parse-torrent reads them', async t => {
  t.same(parseMagnet(`${base}&so=0,2,4,6-8`).selectOnly, [0, 2, 4, 6, 7, 8])
  t.same(parseMagnet(`${base}&so=0,2,4,6-8`).selectOnly, (await parseTorrent(`${base}&so=0,2,4,6-8`)).so)
  t.same(parseMagnet(`${base}&so=7,5-6%2C5&so=1`).selectOnly, [1, 5, 6, 7])
  t.same(parseMagnet(`${base}&so=8-6,a,-1,1-,1.5,0x10,,99999999999999999999,3`).selectOnly, [3])
})

t.test('a choice of files made to be slow is bounded', async t => {
  const started = performance.now()
  t.equal(parseMagnet(`${base}&so=0-999999999999`).selectOnly.length, 100_000)
  t.equal(parseMagnet(`${base}&so=${'1-99999,'.repeat(12_000)}`).selectOnly.length, 99_999)
  t.same(parseMagnet(`${base}&so=100000,500000-600000`).selectOnly, [])
  t.ok(performance.now() - started < 5000)
})

t.test('says what is wrong with a link that cannot be used, and what to do', async t => {
  for (const [uri, message] of [
    ['', /does not start with "magnet:\?"; copy the whole link/],
    [hash, /does not start with/],
    ['http://x.example/?xt=urn:btih:' + hash, /does not start with/],
    ['magnet:', /does not start with/],
    ['magnet:?', /no infohash \(xt=urn:btih:…\); copy the whole link/],
    ['magnet:?dn=x', /no infohash/],
    [`magnet:?xt=urn:sha1:${hash}`, /no infohash/],
    [`magnet:?xt=urn:btmh:1220${'a'.repeat(64)}`, /v2 torrent only .* use a link that also has the v1 infohash/],
    ['magnet:?xt=urn:btih:', /infohash "" is neither 40 hex digits nor 32 base32/],
    [`magnet:?xt=urn:btih:${hash}0`, /is neither 40 hex digits/],
    [`magnet:?xt=urn:btih:${'z'.repeat(500)}`, /"z{80}" is neither/],
    [`${base}&dn=${'x'.repeat(100_000)}`, /100064 characters, more than 100000/]
  ] as const) t.throws(() => parseMagnet(uri), { code: 'MAGNET_INVALID', message }, uri.slice(0, 60))
})

t.test('what is formatted is read back the same, also by parse-torrent', async t => {
  const full: Magnet = {
    infohash: hash,
    name: 'a&b=c #1? 100% שלום +x',
    trackers: ['http://t.example/announce?key=a&b=c', 'udp://t.example:1'],
    exactSources: ['https://x.example/a.torrent?sig=x=='],
    webSeeds: ['https://x.example/f?a=b&c=d#e'],
    acceptableSources: ['https://x.example/g?a=b+c&d=e='],
    peers: ['1.2.3.4:6881', '[2001:db8::1]:51413'],
    selectOnly: [0, 2, 4, 6, 7, 8]
  }
  const uri = formatMagnet(full)
  t.same(parseMagnet(uri), full)
  const oracle = await parseTorrent(uri)
  t.match(oracle, { infoHash: hash, announce: full.trackers, urlList: [...full.acceptableSources, ...full.webSeeds], peerAddresses: full.peers, so: full.selectOnly })
  t.equal(formatMagnet({ infohash: hash }), base)
  t.equal(formatMagnet({ infohash: hash, ...nothing }), base)
  t.equal(formatMagnet({ infohash: hash, name: 'a\ud800' }), `${base}&dn=a%EF%BF%BD`)
  t.match(uri, /&x\.pe=1\.2\.3\.4:6881&.*&so=0,2,4,6-8$/)
  t.equal(formatMagnet({ infohash: hash, peers: ['x:1&tr=udp://evil.example:1'] }), base)
})
