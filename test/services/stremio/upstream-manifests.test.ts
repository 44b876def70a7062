import t from 'tap'
import { CodedError } from '../../../services/errors.ts'
import { manifestOf } from '../../../services/stremio/manifest.ts'
import { isOffered, joinOffers, parseManifest } from '../../../services/stremio/upstream-manifest.ts'
import { UpstreamManifests } from '../../../services/stremio/upstream-manifests.ts'
import { plainManifest } from '../../upstream-addon.ts'
import { openFetcher, serve } from '../download/origin.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import type { RequestListener } from 'node:http'

const signal = new AbortController().signal

t.test('a manifest says what is asked for: for each resource its own types and ids, else those of all', async (t) => {
  t.match(parseManifest(plainManifest), { name: 'Other', streams: [{ types: ['movie', 'series'], idPrefixes: ['tt'] }], subtitles: [{}] })
  const mixed = parseManifest({ id: 'a', name: ' A\n\u202Eb ', types: ['movie'], resources: ['catalog', { name: 'stream', types: ['anime'], idPrefixes: ['kitsu:'] }, { name: 'stream', idPrefixes: [] }, 7, null] })
  t.same(mixed, { name: 'A b', streams: [{ types: ['anime'], idPrefixes: ['kitsu:'] }, { types: ['movie'], idPrefixes: null }], subtitles: [] })
  t.ok(isOffered(mixed?.streams ?? [], 'anime', 'kitsu:1'))
  t.ok(isOffered(mixed?.streams ?? [], 'movie', 'anything'))
  t.notOk(isOffered(mixed?.streams ?? [], 'anime', 'tt1'))
  for (const none of [null, [], {}, 'x', { id: 'a', name: 'b' }, { id: 7, name: 'b', resources: [] }, { streams: [] }]) t.equal(parseManifest(none), null)
})

t.test('our own manifest offers what all of them do, and is small whatever they say', async (t) => {
  const of = (upstreams: Parameters<typeof manifestOf>[0]['upstreams']) => JSON.parse(JSON.stringify(manifestOf({ version: '1.0.0', baseUrl: 'https://a.example', hasCatalogs: true, upstreams })))
  const other = parseManifest({ ...plainManifest, resources: [{ name: 'stream', types: ['anime'], idPrefixes: ['kitsu:'] }] })
  const named = (upstreams: Parameters<typeof manifestOf>[0]['upstreams'], wanted: string) => of(upstreams).resources.find((resource: { name?: string }) => resource.name === wanted)
  t.same(named([other, parseManifest(plainManifest)], 'stream'), { name: 'stream', types: ['movie', 'series', 'other', 'anime'], idPrefixes: ['selfstreme:', 'bt:', 'kitsu:', 'tt'] })
  t.same(named([other], 'subtitles'), { name: 'subtitles', types: ['movie', 'series', 'other'], idPrefixes: ['selfstreme:', 'bt:'] }, 'nobody is asked for what nobody has')
  t.same(named([other, null], 'stream'), { name: 'stream', types: ['movie', 'series', 'other', 'anime'] }, 'any id where one is not known')
  const words = Array.from({ length: 5000 }, (_, i) => `${i}${'x'.repeat(i % 60)}`)
  const huge = parseManifest({ ...plainManifest, name: 'n'.repeat(10_000), types: words, idPrefixes: words })
  t.ok(JSON.stringify(of(Array.from({ length: 20 }, () => huge))).length <= 8192)
  t.ok((joinOffers(huge?.streams ?? [])?.types.length ?? 0) <= 20)
})

t.test('a manifest is read once an hour, one that failed soon again, and one read serves all who wait', async (t) => {
  let answer: RequestListener = (_request, response) => { response.end(JSON.stringify(plainManifest)) }
  const { url, requests } = await serve(t, (request, response) => { answer(request, response) })
  const clock = new SimulatedClock()
  const later = async (ms: number): Promise<void> => { await clock.run(clock.pause(ms)) }
  const manifests = new UpstreamManifests({ fetcher: openFetcher(t, { allowPrivateNetworks: false }), hop: 'self-streme-00000000', clock })
  const addon = { url: new URL('manifest.json', url).href, isTrusted: true }
  t.match(await Promise.all([manifests.of(addon, [], signal), manifests.of(addon, [], signal)]), [{ name: 'Other' }, { name: 'Other' }])
  t.equal(requests.length, 1)
  await later(3_500_000)
  await manifests.of(addon, [], signal)
  t.equal(requests.length, 1)
  await later(200_000)
  for (const [listener, code] of [
    [(_request, response) => { response.end('<html>') }, 'METADATA_INVALID'],
    [(_request, response) => { response.end('{"streams":[]}') }, 'METADATA_INVALID'],
    [(_request, response) => { response.writeHead(404).end() }, 'METADATA_INVALID'],
    [(_request, response) => { response.end(`{"id":"${'x'.repeat(5_000_000)}`) }, 'METADATA_INVALID'],
    [(_request, response) => { response.writeHead(500).end() }, 'SOURCE_FAILED'],
    [(request) => { request.socket.destroy() }, 'SOURCE_FAILED'],
    [(request, response) => { response.writeHead(302, { Location: `http://${request.headers.host}/other` }).end() }, 'ADDRESS_REFUSED']
  ] satisfies Array<[RequestListener, string]>) {
    answer = listener
    const before = requests.length
    t.match(await manifests.of(addon, [], signal), { code })
    t.ok(await manifests.of(addon, [], signal) instanceof CodedError)
    t.equal(requests.length, before + 1, 'not asked again at once')
    await later(31_000)
  }
  t.match(await manifests.of({ ...addon, isTrusted: false }, [], signal), { code: 'ADDRESS_REFUSED' }, 'and trust is not shared')

  answer = () => {}
  const gone = new AbortController()
  const waiting = manifests.of(addon, [], gone.signal)
  gone.abort(new Error('gone'))
  await t.rejects(waiting, { message: 'gone' })
})
