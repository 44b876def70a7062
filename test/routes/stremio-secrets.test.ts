import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'

const unknown = 'e'.repeat(40)

t.test('no secret path, no settings and no key of another addon is in the log, whatever fails; nor in what others get', async (t) => {
  const lines: string[] = []
  const { url, app } = await startApp(t, { UPSTREAM_ADDONS: 'http://127.0.0.1:9/operators-key/manifest.json', STREAM_ACCESS: 'signed', START_TIMEOUT: '2000' }, { level: 'trace', stream: { write: (line: string) => { lines.push(line) } } })
  const { secret = '' } = await app.access.secretPaths.create('the TV') ?? {}
  const made = await jsonFrom(`${url}/api/stremio/install`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ upstreams: ['http://127.0.0.1:9/users-key/manifest.json'] }) })
  const [, ownSecret = '', config = ''] = /\/t\/([\w-]+)\/(cfg-[\w-]+)\//.exec(made.body.data.manifestUrl) ?? []
  t.ok(ownSecret.length > 10 && config.length > 40)
  for (const path of [
    '/manifest.json', `/${config}/manifest.json`, `/${config}/stream/movie/tt1.json`, `/${config}/subtitles/movie/tt1.json`, `/${config}x/manifest.json`, `/${config}/configure`,
    `/stream/proxy/${unknown}?notice=1`, '/stream/proxy/xx', '/nothing', '/%zz', `/${unknown}/0?external=1`, `/${unknown}/create`, `/${unknown}/0/stats.json`,
    '/proxy/d=http%3A%2F%2F127.0.0.1%3A9/key-in-proxy?x=1', '/opensubHash?videoUrl=http%3A%2F%2F127.0.0.1%3A9%2Fkey-in-url', '/subtitles.vtt?from=http%3A%2F%2F127.0.0.1%3A9%2Fkey-in-from'
  ]) {
    const answer = await fetch(`${url}/t/${secret}${path}`, { redirect: 'manual' })
    const text = await answer.text()
    t.notMatch(text, /operators-key|users-key/, path.slice(0, 40))
    t.notOk(text.includes(secret), path.slice(0, 40))
    t.equal(answer.headers.get('referrer-policy'), 'no-referrer')
    t.notMatch(answer.headers.get('cache-control'), /public/)
  }
  await fetch(`${url}/t/${secret}x/manifest.json`)
  const all = lines.join('')
  t.match(all, 'an addon did not answer')
  for (const each of [secret, ownSecret, config, 'operators-key', 'users-key', 'key-in-']) t.notOk(all.includes(each), each.slice(0, 8))
})

t.test('a secret path that is revoked is one at once, for the addon and for what it gave out', async (t) => {
  const { url, app } = await startApp(t, { STREAM_ACCESS: 'signed', API_TOKEN: 'a-token-of-some-length' })
  const made = await app.access.secretPaths.create('the TV')
  const base = `${url}/t/${made?.secret}`
  const { body } = await jsonFrom(`${base}/stream/other/bt:39730aa7c09b864432bc8c878c20c933059241fd.json`)
  const stream = body.streams[0].url
  t.ok(stream.startsWith(`${base}/stream/`))
  t.equal((await fetch(stream)).status, 200)
  t.equal((await jsonFrom(`${base}/settings`)).body.baseUrl, base, 'of which its holder is told')
  t.equal((await jsonFrom(`${url}/settings`)).body.baseUrl, url, 'and nobody else')
  await app.access.secretPaths.revoke(made?.path.id ?? '')
  for (const path of ['/manifest.json', '/settings', `/${unknown}/0`]) t.equal((await fetch(`${base}${path}`)).status, 403, path)
  t.match(await fetch(stream.replace('notice=1', '')), { status: 403 })
  const told = await fetch(stream)
  t.ok(told.status === 403 || told.headers.get('x-stream-notice') === 'not-allowed', 'a TV is shown why')
})
