import linter from 'stremio-addon-linter'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { startUpstream } from '../upstream-addon.ts'

const json = { 'Content-Type': 'application/json' }

t.test('an address is made to install the addon by, with addons of the owner’s choice and a secret path', async (t) => {
  const other = await startUpstream(t, { streams: [{ name: 'Other', infoHash: 'e'.repeat(40) }], subtitles: [{ id: '1', url: 'https://subtitles.example/1.srt', lang: 'eng' }] })
  const { url } = await startApp(t, { STREAM_ACCESS: 'signed' })
  const { status, body } = await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: json, body: JSON.stringify({ upstreams: [other.url] }) })
  t.equal(status, 201)
  const { manifestUrl, installUrl, webUrl, isReachable } = body.data
  t.match(manifestUrl, new RegExp(`^${url}/t/[\\w-]+/cfg-[\\w-]+/manifest\\.json$`))
  t.notMatch(decodeURIComponent(manifestUrl), /somebodys-key/)
  t.equal(installUrl, manifestUrl.replace('http:', 'stremio:'))
  t.equal(webUrl, `https://web.stremio.com/#/addons?addon=${encodeURIComponent(manifestUrl)}`)
  t.equal(isReachable, true)
  t.same(body.data.addons, [{ url: other.url, name: 'Other', problem: null }])

  const { body: manifest } = await jsonFrom(manifestUrl)
  t.same(linter.lintManifest(manifest), { valid: true, errors: [], warnings: [] })
  t.equal(manifest.catalogs.length, 3)
  t.match(manifest.resources, ['catalog', {}, { name: 'stream', idPrefixes: ['selfstreme:', 'bt:', 'tt'] }, { name: 'subtitles', idPrefixes: ['selfstreme:', 'bt:', 'tt'] }])
  t.notMatch(JSON.stringify(manifest), /somebodys-key/)
  const base = manifestUrl.replace('/manifest.json', '')
  const { body: { streams } } = await jsonFrom(`${base}/stream/movie/tt1254207.json`)
  t.same(other.requests, ['manifest.json', 'stream/movie/tt1254207.json'])
  t.match(streams, [{ url: new RegExp(`^${url}/t/[\\w-]+/stream/proxy/e{40}\\?notice=1$`) }])
  t.same((await jsonFrom(`${base.replace(/\/t\/[\w-]+/, '')}/stream/movie/tt1254207.json`)).body, { streams: [] }, 'without the secret nothing is asked')
  t.same((await jsonFrom(`${base}/subtitles/movie/tt1254207/videoSize=5.json`)).body, { subtitles: [{ id: '1', url: 'https://subtitles.example/1.srt', lang: 'eng' }] })
  t.equal(other.requests.at(-1), 'subtitles/movie/tt1254207/videoSize=5.json')

  const [, config = ''] = /\/(cfg-[\w-]+)\//.exec(manifestUrl) ?? []
  t.match(await jsonFrom(`${url}/api/stremio/install/${config}`), { body: { data: { upstreams: [other.url], catalogs: true, addons: [{ name: 'Other' }] } } })
  const page = await fetch(`${base}/configure`, { redirect: 'manual' })
  t.same([page.status, page.headers.get('location')], [302, `../configure#${config}`])
  t.match(await (await fetch(`${base}/configure`)).text(), /assets\/configure\.js/, 'which leads to the page')
})

t.test('only the owner makes one, of addresses that are some', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: 'a-token-of-some-length' })
  t.equal((await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: json, body: '{}' })).status, 401)
  const own = { ...json, Authorization: 'Bearer a-token-of-some-length' }
  t.match(await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: own, body: JSON.stringify({ upstreams: ['https://addon.example/manifest.json', 'file:///etc/manifest.json'] }) }), { status: 400, body: { message: /file:\/\/\/etc/ } })
  const { body } = await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: own, body: JSON.stringify({ secretPath: false }) })
  t.equal(body.data.manifestUrl, `${url}/manifest.json`, 'the plain one where nothing is set')
  const { body: quiet } = await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: own, body: JSON.stringify({ catalogs: false }) })
  t.same((await jsonFrom(quiet.data.manifestUrl)).body.catalogs, [])
  t.match(await jsonFrom(`${url}/cfg-${'x'.repeat(60)}/manifest.json`), { status: 404, body: { message: /install it again/ } })
  t.match(await jsonFrom(`${url}/cfg-${'x'.repeat(60)}/catalog/movie/selfstreme-movie.json`), { status: 404 })
})

t.test('a proxy that nobody told the server of is told of, once', async (t) => {
  const lines: string[] = []
  const { url } = await startApp(t, {}, { level: 'warn', stream: { write: (line: string) => { lines.push(line) } } })
  t.equal((await jsonFrom(`${url}/api/session`)).body.data.isProxyIgnored, false)
  for (let i = 0; i < 3; i++) await jsonFrom(`${url}/manifest.json`, { headers: { 'X-Forwarded-Proto': 'https' } })
  t.equal((await jsonFrom(`${url}/api/session`)).body.data.isProxyIgnored, true)
  t.equal(lines.filter((line) => line.includes('BASE_URL')).length, 1)

  const { url: told } = await startApp(t, { TRUST_PROXY: '1' })
  const { body } = await jsonFrom(`${told}/manifest.json`, { headers: { 'X-Forwarded-Proto': 'https', 'X-Forwarded-Host': 'films.example' } })
  t.equal(body.logo, 'https://films.example/assets/icon.svg')
  t.equal((await jsonFrom(`${told}/api/session`)).body.data.isProxyIgnored, false)
})

t.test('what is no addon is refused with what it is instead, and one that is silent now is told of', async (t) => {
  const make = async (url: string, upstream: string) => await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: json, body: JSON.stringify({ upstreams: [upstream] }) })
  const page = await startUpstream(t, { manifest: { hello: 'world' } })
  const good = await startUpstream(t)
  const { url } = await startApp(t)
  t.match(await make(url, page.url), { status: 400, body: { message: /no manifest of a Stremio addon/ } })
  t.match(await make(url, 'http://127.0.0.1:9/manifest.json'), { status: 201, body: { data: { addons: [{ name: null, problem: /127\.0\.0\.1:9/ }] } } })
  const { url: guarded } = await startApp(t, { HTTP_ALLOW_PRIVATE_NETWORKS: 'false' })
  t.match(await make(guarded, good.url), { status: 400, body: { message: /UPSTREAM_ADDONS/ } })
  t.same(good.requests, [])
})
