import fc from 'fast-check'
import t from 'tap'
import { linksFrom } from '../../../services/links.ts'
import { parseManifest } from '../../../services/stremio/upstream-manifest.ts'
import { parseStreams } from '../../../services/stremio/upstream-stream.ts'
import { Upstreams } from '../../../services/stremio/upstreams.ts'
import { CodedError } from '../../../services/errors.ts'
import { makeTorrent } from '../../testnet.ts'
import { openFetcher, serve } from '../download/origin.ts'
import type { RequestListener } from 'node:http'
import type { Test } from 'tap'
import type { UpstreamsOptions } from '../../../services/stremio/upstreams.ts'

const links = linksFrom('https://films.example')
const hash = (digit: string): string => digit.repeat(40)
const question = { type: 'series', id: 'tt0386676:1:2', extra: '', hops: [] }

function upstreams (t: Test, options: Partial<UpstreamsOptions> = {}, isPrivateAllowed = true): Upstreams {
  return new Upstreams({
    fetcher: openFetcher(t, { allowPrivateNetworks: isPrivateAllowed }),
    cache: { find: async () => null },
    torrents: { knownMetadata: async () => null },
    health: { of: async (infoHash) => ({ infoHash, peers: 0, seeds: 0, peersFrom: null, isMetadataKnown: false, sources: [{ source: 'p2p', outlook: 'unknown', reason: '' }], estimatedStart: null, basis: '', checkedAt: '' }) },
    manifests: { of: async () => ({ name: 'any', streams: [{ types: ['movie', 'series'], idPrefixes: ['tt'] }], subtitles: [{ types: ['movie', 'series'], idPrefixes: null }] }) },
    hop: 'self-streme-00000000',
    log: { info () {}, warn () {}, error () {}, debug () {} } as never,
    ...options
  })
}

async function addon (t: Test, listener: RequestListener): Promise<{ url: string, isTrusted: boolean, requests: string[] }> {
  const { url, requests } = await serve(t, listener)
  return { url: new URL('key/manifest.json', url).href, isTrusted: true, requests }
}

function answering (streams: unknown): RequestListener {
  return (_request, response) => { response.setHeader('Content-Type', 'application/json').end(JSON.stringify({ streams })) }
}

t.test('a torrent becomes a stream of this server, with all that its addon said; anything else passes as it came', async (t) => {
  const others = [{ name: 'direct', url: 'https://cdn.example/a.mp4', behaviorHints: { proxyHeaders: { request: { a: 'b' } } } }, { ytId: 'abc' }, { externalUrl: 'https://x.example', extra: { deep: [1] } }]
  const good = await addon(t, answering([{
    name: 'Torrentio\n1080p',
    title: 'Show S01E02\n👤 12',
    infoHash: hash('A'),
    fileIdx: 3,
    sources: ['tracker:udp://tracker.example:1337/announce', `dht:${hash('a')}`, 'tracker:javascript:alert(1)', 7],
    behaviorHints: { bingeGroup: 'torrentio|1080p', filename: 'Show S01E02.mkv', videoSize: 123, videoHash: 'abc' }
  }, ...others]))
  const { streams, isComplete } = await upstreams(t).streams([good], { ...question, extra: 'videoSize=1&filename=a%26b' }, links, new AbortController().signal)
  t.ok(isComplete)
  t.same(good.requests, ['/key/stream/series/tt0386676%3A1%3A2/videoSize=1&filename=a%26b.json'])
  t.same(streams, [{
    name: 'Torrentio\n1080p',
    title: 'Show S01E02\n👤 12',
    url: `https://films.example/stream/${hash('a')}/3/Show%20S01E02.mkv?tr=${encodeURIComponent('udp://tracker.example:1337/announce')}&notice=1`,
    behaviorHints: { bingeGroup: 'torrentio|1080p', filename: 'Show S01E02.mkv', videoSize: 123, videoHash: 'abc', notWebReady: true }
  }, ...others])
})

t.test('what is cached comes first and is marked, what nobody has comes last; each names what to try in its place', async (t) => {
  const stream = (digit: string, bingeGroup = 'x|1080p') => ({ name: digit, infoHash: hash(digit), fileIdx: 0, behaviorHints: { bingeGroup } })
  const good = await addon(t, answering([stream('1'), stream('2'), stream('3'), stream('4', 'x|720p'), stream('1')]))
  const asked: string[] = []
  const { streams } = await upstreams(t, {
    cache: { find: async (infohash) => infohash === hash('3') ? {} as never : null },
    health: {
      async of (infoHash) {
        asked.push(infoHash)
        return { sources: [{ source: 'p2p', outlook: infoHash === hash('1') ? 'no' : 'likely', reason: '' }, { source: 'http-fallback', outlook: 'no', reason: '' }] } as never
      }
    }
  }).streams([good], question, links, new AbortController().signal)
  t.same(streams.map((each) => 'name' in each ? each.name : null), ['⚡ 3', '2', '4', '💤 1'], 'each once')
  t.same(asked.sort(), ['1', '2', '4'].map(hash), 'what is cached needs no check')
  const alternatives = streams.map((each) => 'url' in each ? new URL(String(each.url)).searchParams.getAll('alt') : [])
  t.same(alternatives, [[`${hash('2')}:0`], [`${hash('3')}:0`], [], [`${hash('3')}:0`, `${hash('2')}:0`]])
})

t.test('a season pack without an index is the episode that was asked for, where its files are known', async (t) => {
  const { metadata } = await makeTorrent({ 'Show.S01E01.mkv': Buffer.alloc(9), 'Show.S01E02.mkv': Buffer.alloc(8) }, { name: 'Show' })
  const good = await addon(t, answering([{ infoHash: metadata.infohash }]))
  const { streams } = await upstreams(t, { torrents: { knownMetadata: async () => metadata } }).streams([good], question, links, new AbortController().signal)
  t.match(streams, [{ url: `https://films.example/stream/${metadata.infohash}/1/Show.S01E02.mkv?notice=1`, behaviorHints: { filename: 'Show.S01E02.mkv' } }])
})

t.test('twenty addons of which most hang, lie, fail or flood: what the good ones have is there in time', async (t) => {
  const listeners: RequestListener[] = [
    () => {},
    (_request, response) => { response.writeHead(200, { 'Content-Type': 'application/json' }).write('{"streams":[') },
    (_request, response) => { response.writeHead(500).end('{}') },
    (_request, response) => { response.end(`{"streams":[{"infoHash":"${hash('b')}","name":"${'x'.repeat(5_000_000)}"}]}`) },
    (_request, response) => { response.end('<html>') },
    (_request, response) => { response.end('null') },
    answering({ 0: 'x' }),
    answering([null, 7, 'x', [], {}, { infoHash: 'x' }, { infoHash: 7 }, { infoHash: hash('c'), fileIdx: -1, sources: 'x', behaviorHints: [] }]),
    (request) => { request.socket.destroy() },
    (_request, response) => { response.writeHead(302, { Location: 'file:///etc/passwd' }).end() },
    (request, response) => { response.writeHead(302, { Location: request.url ?? '/' }).end() },
    (_request, response) => { response.writeHead(404).end() },
    answering([{ infoHash: hash('d'), fileIdx: 1e300, behaviorHints: { filename: '../../etc/passwd\r\nX: y', videoSize: 'big' } }])
  ]
  const addons = [...await Promise.all(Array.from({ length: 18 }, async (_, i) => await addon(t, listeners[i % listeners.length] ?? (() => {})))), await addon(t, answering([{ name: 'good', infoHash: hash('e'), fileIdx: 2 }])), { url: 'https://films.example/no-manifest', isTrusted: true }]
  const startedAt = performance.now()
  const { streams, isComplete } = await upstreams(t).streams(addons, question, links, new AbortController().signal)
  const took = performance.now() - startedAt
  t.ok(took > 3500 && took < 6000, `${took.toFixed(0)} ms`)
  t.notOk(isComplete)
  const urls = streams.map((each) => 'url' in each ? String(each.url) : '')
  t.same(urls.map((url) => new URL(url).pathname), [hash('c'), hash('d'), hash('e')].map((infohash) => `/stream/proxy/${infohash}`))
  t.ok(urls.every((url) => !/[\r\n]/.test(url)))
})

t.test('a check that never ends delays nobody', async (t) => {
  const good = await addon(t, answering([{ infoHash: hash('1') }]))
  const startedAt = performance.now()
  const { streams } = await upstreams(t, { health: { of: async () => await new Promise(() => {}) } }).streams([good], question, links, new AbortController().signal)
  t.equal(streams.length, 1)
  t.ok(performance.now() - startedAt < 6000)
})

t.test('an addon that a user named is not asked in our own network, one of the operator is', async (t) => {
  const good = await addon(t, answering([{ infoHash: hash('1') }]))
  const own = upstreams(t, {}, false)
  t.match(await own.streams([{ ...good, isTrusted: false }], question, links, new AbortController().signal), { streams: [], isComplete: false })
  t.same(good.requests, [])
  t.match(await own.streams([good], question, links, new AbortController().signal), { streams: [{}], isComplete: true })
  const redirecting = await addon(t, (_request, response) => { response.writeHead(302, { Location: good.url }).end() })
  t.match(await own.streams([redirecting], question, links, new AbortController().signal), { streams: [], isComplete: false }, 'a redirect is trusted by nobody')
  t.equal(good.requests.length, 1)
})

t.test('who leaves ends it', async (t) => {
  const hanging = await addon(t, () => {})
  const controller = new AbortController()
  const answer = upstreams(t).streams([hanging], question, links, controller.signal)
  controller.abort(new Error('gone'))
  await t.rejects(answer, { message: 'gone' })
})

t.test('strange types and ids are asked of nobody', async (t) => {
  const good = await addon(t, answering([]))
  for (const strange of [{ type: '..' }, { type: 'a/b' }, { id: 'x'.repeat(301) }]) await upstreams(t).streams([good], { ...question, ...strange }, links, new AbortController().signal)
  t.same(good.requests, [])
  t.equal(parseStreams(null), null)
  t.equal(parseStreams({ streams: Array.from({ length: 1000 }, () => ({ ytId: 'x' })) })?.length, 200)
})

t.test('hundreds of streams with names made to be slow take no second', async (t) => {
  const slow = ' - '.repeat(60)
  const { metadata } = await makeTorrent(Object.fromEntries(Array.from({ length: 1500 }, (_, i) => [`${slow}${i} x.mkv`, Buffer.alloc(1)])), { name: 'Slow' })
  const streams = Array.from({ length: 200 }, (_, i) => ({ name: `${slow}${i}`, title: 'a1b2'.repeat(500), infoHash: i.toString(16).padStart(40, '0') }))
  const good = await addon(t, answering([...streams.slice(1), ...Array.from({ length: 10 }, () => ({ infoHash: metadata.infohash }))]))
  const startedAt = performance.now()
  const { streams: found } = await upstreams(t, { torrents: { knownMetadata: async (infohash) => infohash === metadata.infohash ? metadata : null } }).streams([good], question, links, new AbortController().signal)
  t.ok(found.length >= 199)
  t.ok(performance.now() - startedAt < 2000, `${(performance.now() - startedAt).toFixed(0)} ms`)
})

t.test('a stream that is a script, a local file, a megabyte, or thousands of levels deep is left out, and the others are there', async (t) => {
  const deep = `{"url":"https://a.example/","x":${'['.repeat(200_000)}${']'.repeat(200_000)}}`
  const wrong = ['{"url":"javascript:alert(1)"}', '{"externalUrl":" JavaScript:alert(1)"}', '{"url":"file:///etc/passwd"}', '{"externalUrl":"data:text/html,x"}', '{"url":7}', deep, `{"ytId":"abc","description":"${'x'.repeat(1_000_000)}"}`]
  const good = await addon(t, (_request, response) => { response.end(`{"streams":[${wrong.join()},{"ytId":"good"},{"externalUrl":"stremio:///detail/movie/tt1"}]}`) })
  const { streams, isComplete } = await upstreams(t).streams([good], question, links, new AbortController().signal)
  t.same(JSON.parse(JSON.stringify(streams)), [{ ytId: 'good' }, { externalUrl: 'stremio:///detail/movie/tt1' }])
  t.ok(isComplete)
})

t.test('an addon is asked for what its manifest names, and for all streams where nobody knows that', async (t) => {
  const good = await addon(t, (_request, response) => { response.end(JSON.stringify({ streams: [{ ytId: 'x' }], subtitles: [{ id: 'a', url: 'https://a.example/1.srt', lang: 'eng' }] })) })
  const own = upstreams(t)
  for (const other of [{ type: 'anime' }, { id: 'kitsu:1:2' }]) t.same((await own.streams([good], { ...question, ...other }, links, new AbortController().signal)), { streams: [], isComplete: true })
  t.same(good.requests, [])
  const unknown = upstreams(t, { manifests: { of: async () => new CodedError('HTTP_TIMEOUT', 'late') } })
  t.match(await unknown.streams([good], question, links, new AbortController().signal), { streams: [{ ytId: 'x' }], isComplete: true })
  t.same(await unknown.subtitles([good], question, new AbortController().signal), { subtitles: [], isComplete: false })
  const hanging = upstreams(t, { manifests: { of: async (_addon, _hops, signal) => await new Promise((_resolve, reject) => { signal.addEventListener('abort', () => { reject(signal.reason) }) }) } })
  t.match(await hanging.streams([good], question, links, new AbortController().signal), { streams: [{ ytId: 'x' }] }, 'a manifest that hangs is waited for, but not for ever')
})

t.test('the subtitles of other addons are passed on, whichever of these hang or lie', async (t) => {
  const good = await addon(t, (_request, response) => {
    response.end(JSON.stringify({ subtitles: [{ id: 7, url: 'https://a.example/1.srt', lang: 'eng', SubEncoding: 'UTF-8' }, { id: 'b', url: 'https://a.example/2.srt' }, { id: 'c', url: 'https://a.example/1.srt', lang: 'heb' }, { id: 'd', url: 'file:///etc/passwd', lang: 'eng' }, { id: 'e', url: 'javascript:x', lang: 'eng' }, 7, null] }))
  })
  const others = [await addon(t, () => {}), await addon(t, answering([])), await addon(t, (_request, response) => { response.end(`{"subtitles":[${'['.repeat(100_000)}`) })]
  const startedAt = performance.now()
  const { subtitles, isComplete } = await upstreams(t).subtitles([...others, good], { ...question, extra: 'videoSize=1' }, new AbortController().signal)
  t.same(good.requests, ['/key/subtitles/series/tt0386676%3A1%3A2/videoSize=1.json'])
  t.same(subtitles, [{ id: 'c', url: 'https://a.example/1.srt', lang: 'heb' }, { id: 'b', url: 'https://a.example/2.srt', lang: 'und' }])
  t.notOk(isComplete)
  t.ok(performance.now() - startedAt < 6000)
})

t.test('an address can be asked for, whatever trackers and names an addon gives', async (t) => {
  const sources = Array.from({ length: 40 }, (_, i) => `tracker:udp://tracker${i}.example:1337/${'ü'.repeat((39 - i) * 10)}`)
  const good = await addon(t, answering([{ infoHash: hash('a'), sources: [...sources, 'tracker:udp://a.example:1/\uD800'], behaviorHints: { filename: '\u{1F4A9}'.repeat(2000) } }, { infoHash: hash('b'), fileIdx: 0, behaviorHints: { filename: `a${'\u{1F4A9}'.repeat(2000)}.mkv` } }]))
  const { streams } = await upstreams(t).streams([good], question, links, new AbortController().signal)
  const [stream] = streams
  const url = stream !== undefined && 'url' in stream ? String(stream.url) : ''
  t.ok(url.length < 14_000, `${url.length} characters`)
  t.ok(new URL(url).searchParams.getAll('tr').length > 0)
  t.equal(streams.length, 2)
})

t.test('a torrent that comes as a magnet link is one as any', async (t) => {
  const tracker = 'udp://tracker.example:1337/announce'
  const good = await addon(t, answering([{ name: 'x', url: `magnet:?xt=urn:btih:${hash('A')}&tr=${encodeURIComponent(tracker)}&so=2` }, { url: 'magnet:?xt=urn:btih:nonsense' }]))
  const { streams } = await upstreams(t).streams([good], question, links, new AbortController().signal)
  t.match(streams, [{ name: 'x', url: `https://films.example/stream/proxy/${hash('a')}?fileIndex=2&tr=${encodeURIComponent(tracker)}&notice=1` }, { url: 'magnet:?xt=urn:btih:nonsense' }])
})

t.test('whatever another addon answers, what comes of it can be read and sent on', async (t) => {
  const names = ['streams', 'subtitles', 'resources', 'types', 'idPrefixes', 'id', 'name', 'title', 'description', 'url', 'lang', 'infoHash', 'fileIdx', 'sources', 'behaviorHints', 'filename', 'videoSize', 'bingeGroup', 'externalUrl', 'ytId', '__proto__', 'constructor', 'toString']
  const leaf = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom(hash('a'), hash('b').toUpperCase(), 'magnet:?xt=urn:btih:' + hash('c'), 'magnet:?', 'https://a.example/b', 'stream', 'subtitles', 'tt', 'movie', -1, 1e308, '\uD800', 'tracker:udp://a.example:1'))
  const entry = fc.dictionary(fc.constantFrom(...names), fc.oneof(leaf, fc.array(leaf, { maxLength: 3 }), fc.dictionary(fc.constantFrom(...names), leaf)))
  const answers = fc.oneof(leaf, entry, fc.record({ streams: fc.array(entry), subtitles: fc.array(entry), resources: fc.array(fc.oneof(entry, leaf)), id: leaf, name: leaf }))
  await fc.assert(fc.asyncProperty(answers, async (answer) => {
    const text = JSON.stringify(answer)
    const given = Buffer.from(text)
    const asked = upstreams(t, {
      fetcher: { get: async (url) => ({ status: 200, headers: {}, url, body: (async function * () { yield given })(), discard () {} }) },
      manifests: { of: async () => parseManifest(JSON.parse(text)) ?? new CodedError('METADATA_INVALID', 'none') }
    })
    const { signal } = new AbortController()
    const addons = [{ url: 'https://a.example/manifest.json', isTrusted: false }]
    for (const stream of (await asked.streams(addons, question, links, signal)).streams) {
      const sent = JSON.parse(JSON.stringify(stream))
      if (typeof sent.infoHash === 'string') throw new Error('a torrent is left')
      if (String(sent.url).startsWith('https://films.example') && !URL.canParse(sent.url)) throw new Error('no URL')
    }
    for (const { id, url, lang } of (await asked.subtitles(addons, question, signal)).subtitles as Array<Record<string, unknown>>) {
      if (typeof id !== 'string' || typeof lang !== 'string' || !/^https?:/.test(String(url))) throw new Error('no subtitle')
    }
  }), { numRuns: 500 })
  t.pass('500 answers')
})
