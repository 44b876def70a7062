import { createServer } from 'node:http'
import linter from 'stremio-addon-linter'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'

const json = { 'Content-Type': 'application/json' }

t.test('an address is made to install the addon by, with addons of the owner’s choice and a secret path', async (t) => {
  const asked: Array<string | undefined> = []
  const other = createServer((request, response) => {
    asked.push(request.url)
    response.end(JSON.stringify({ streams: [{ name: 'Other', infoHash: 'e'.repeat(40) }] }))
  })
  const origin = await listenOnLoopback(t, other)
  const { url } = await startApp(t, { STREAM_ACCESS: 'signed' })
  const { status, body } = await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: json, body: JSON.stringify({ upstreams: [`${origin}/somebodys-key/manifest.json`] }) })
  t.equal(status, 201)
  const { manifestUrl, installUrl, webUrl, isReachable } = body.data
  t.match(manifestUrl, new RegExp(`^${url}/t/[\\w-]+/cfg-[\\w-]+/manifest\\.json$`))
  t.notMatch(decodeURIComponent(manifestUrl), /somebodys-key/)
  t.equal(installUrl, manifestUrl.replace('http:', 'stremio:'))
  t.equal(webUrl, `https://web.stremio.com/#/addons?addon=${encodeURIComponent(manifestUrl)}`)
  t.equal(isReachable, true)

  const { body: manifest } = await jsonFrom(manifestUrl)
  t.same(linter.lintManifest(manifest), { valid: true, errors: [], warnings: [] })
  t.equal(manifest.catalogs.length, 3)
  const base = manifestUrl.replace('/manifest.json', '')
  const { body: { streams } } = await jsonFrom(`${base}/stream/movie/tt1254207.json`)
  t.same(asked, ['/somebodys-key/stream/movie/tt1254207.json'])
  t.match(streams, [{ url: new RegExp(`^${url}/t/[\\w-]+/stream/proxy/e{40}\\?notice=1$`) }])
  t.same((await jsonFrom(`${base.replace(/\/t\/[\w-]+/, '')}/stream/movie/tt1254207.json`)).body, { streams: [] }, 'without the secret nothing is asked')

  const [, config = ''] = /\/(cfg-[\w-]+)\//.exec(manifestUrl) ?? []
  t.match(await jsonFrom(`${url}/api/stremio/install/${config}`), { body: { data: { upstreams: [`${origin}/somebodys-key/manifest.json`], catalogs: true } } })
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
