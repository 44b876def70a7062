import { request } from 'node:http'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { startApp } from '../helper.ts'

const token = 'a-token-of-the-owner-0123456789'
const unknown = 'c'.repeat(40)

interface Answer { readonly status: number | undefined, readonly headers: Record<string, string | string[] | undefined>, readonly body: string }

/** As browsers, and others, ask: `fetch` lets nobody set Host and Origin. */
async function ask (url: string, method: string, headers: Record<string, string> = {}, body?: string): Promise<Answer> {
  const asked = request(url, { method, headers: { ...body === undefined ? {} : { 'Content-Length': String(Buffer.byteLength(body)) }, ...headers } })
  asked.end(body)
  const [response] = await once(asked, 'response')
  return { status: response.statusCode, headers: response.headers, body: await text(response) }
}

const json = { 'Content-Type': 'application/json' }
const addition = JSON.stringify({ infoHash: unknown })

t.test('a page of somebody else cannot have a browser change anything', async (t) => {
  const { url, app } = await startApp(t)
  const own = new URL(url).host
  for (const origin of ['https://evil.example', 'null', `http://${own}.evil.example`, 'http://127.0.0.1:1']) {
    const headers = { Origin: origin }
    for (const [method, path, body] of [['POST', '/api/torrents', addition], ['DELETE', '/api/cache', undefined], ['DELETE', `/api/torrents/${unknown}`, undefined], ['POST', `/api/cache/${unknown}/pin`, undefined], ['POST', '/api/session', '{"token":"x"}']] as const) {
      const answer = await ask(url + path, method, { ...headers, ...body === undefined ? {} : json }, body)
      t.match(answer, { status: 403, body: /ORIGIN_REFUSED/ }, `${method} ${path} from ${origin}`)
      t.equal(answer.headers['access-control-allow-origin'], undefined)
    }
    // Uploads need no preflight where a browser takes them for a form.
    t.match(await ask(`${url}/api/torrents`, 'POST', { ...headers, 'Content-Type': 'multipart/form-data; boundary=B' }, '--B\r\nContent-Disposition: form-data; name="infoHash"\r\n\r\nx\r\n--B--\r\n'), { status: 403 })
    t.match(await ask(`${url}/api/torrents`, 'OPTIONS', { ...headers, 'Access-Control-Request-Method': 'POST' }), { status: 405 }, 'and is not told that it may')
  }
  t.notOk(app.torrentList.isAdded(unknown))
  for (const type of ['text/plain', 'application/x-www-form-urlencoded']) t.match(await ask(`${url}/api/torrents`, 'POST', { 'Content-Type': type }, addition), { status: 415 }, type)
  t.match(await ask(`${url}/api/torrents`, 'POST', { ...json, Origin: `http://${own}` }, addition), { status: 202 }, 'its own page may')
  t.match(await ask(`${url}/api/torrents`, 'POST', json, addition), { status: 202 }, 'and who is no page')
})

t.test('a page that reads as somebody else gets what a stranger gets', async (t) => {
  const { url } = await startApp(t)
  t.match(await ask(`${url}/api/torrents`, 'GET', { Origin: 'https://evil.example' }), { status: 403, body: /ORIGIN_REFUSED/ })
  t.match(await ask(`${url}/stream/status/${unknown}`, 'GET', { Origin: 'https://evil.example' }), { status: 200, headers: { 'access-control-allow-origin': '*' } })
})

t.test('a name that somebody points here opens nothing (DNS rebinding)', async (t) => {
  const { url } = await startApp(t, { ALLOWED_HOSTS: 'nas.example.org', BASE_URL: 'https://films.example' })
  const { port } = new URL(url)
  for (const host of [`evil.example:${port}`, 'evil.example']) {
    const headers = { Host: host }
    for (const [method, path] of [['GET', '/api/torrents'], ['GET', '/api/network'], ['GET', '/metrics'], ['GET', '/api/cache'], ['DELETE', '/api/cache'], ['DELETE', '/api/session']] as const) t.match(await ask(url + path, method, headers), { status: 403, body: /HOST_REFUSED.*ALLOWED_HOSTS/s }, `${method} ${path} for ${host}`)
    t.match(await ask(`${url}/api/torrents`, 'POST', { ...headers, ...json, Origin: `http://${host}` }, addition), { status: 403, body: /HOST_REFUSED/ })
    for (const path of ['/health', '/ready', '/', '/openapi.json', `/stream/status/${unknown}`]) t.match(await ask(url + path, 'GET', headers), { status: 200 }, `${path} for ${host}`)
    t.match(JSON.parse((await ask(`${url}/api/session`, 'GET', headers)).body), { data: { may: ['stream', 'add'], loginNeeded: true } })
  }
  for (const host of ['nas.example.org', 'films.example', 'nas.local', `localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`, 'self-streme:11470']) {
    t.match(await ask(`${url}/api/torrents`, 'GET', { Host: host }), { status: 200 }, host)
    t.match(await ask(`${url}/api/cache`, 'DELETE', { Host: host, Origin: `http://${host}` }), { status: 200 }, host)
  }
})

t.test('who brings the token may use any name', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: token })
  const headers = { Host: 'metrics.example', Authorization: `Bearer ${token}` }
  t.match(await ask(`${url}/metrics`, 'GET', headers), { status: 200 })
  t.match(await ask(`${url}/api/cache`, 'DELETE', headers), { status: 200 })
  t.match(await ask(`${url}/api/cache`, 'DELETE', { ...headers, Origin: 'https://evil.example' }), { status: 403 })
})

t.test('pages that the owner lists may call the API, and any page with * where it has the token', async (t) => {
  const { url } = await startApp(t, { ALLOWED_ORIGINS: 'https://panel.example' })
  const listed = { Origin: 'https://panel.example' }
  t.match(await ask(`${url}/api/torrents`, 'OPTIONS', { ...listed, 'Access-Control-Request-Method': 'POST' }), {
    status: 204, headers: { 'access-control-allow-origin': 'https://panel.example', 'access-control-allow-methods': /POST/, 'access-control-allow-headers': /Authorization/, vary: 'Origin' }
  })
  t.match(await ask(`${url}/api/torrents`, 'POST', { ...listed, ...json }, addition), { status: 202, headers: { 'access-control-allow-origin': 'https://panel.example' } })
  t.match(await ask(`${url}/api/torrents`, 'GET', { ...listed, Via: 'x' }), { status: 401, headers: { 'access-control-allow-origin': 'https://panel.example', 'access-control-allow-credentials': undefined } }, 'it can read why not')
  t.match(await ask(`${url}/api/torrents`, 'OPTIONS', { Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST' }), { status: 405 })

  const open = await startApp(t, { ALLOWED_ORIGINS: '*' })
  const any = { Origin: 'https://any.example' }
  t.match(await ask(`${open.url}/api/torrents`, 'OPTIONS', { ...any, 'Access-Control-Request-Method': 'GET' }), { status: 204, headers: { 'access-control-allow-origin': 'https://any.example' } })
  t.match(await ask(`${open.url}/api/torrents`, 'GET', any), { status: 403, body: /ORIGIN_REFUSED/ }, 'that the browser is at home does not count for it')
  t.match(await ask(`${open.url}/api/torrents`, 'GET', { ...any, Authorization: `Bearer ${open.app.access.newToken}` }), { status: 200 })
})

t.test('logging in sets a cookie that scripts, other sites and plain connections do not get', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: token })
  const logIn = async (headers: Record<string, string>) => String((await ask(`${url}/api/session`, 'POST', { ...json, ...headers }, JSON.stringify({ token }))).headers['set-cookie'])
  t.match(await logIn({}), /^self_streme_session_0=[\w.-]+; Path=\/; Max-Age=2592000; HttpOnly; SameSite=Strict$/)
  t.match(await logIn({ Host: 'films.local', Origin: 'https://films.local' }), /; Secure$/, 'behind a proxy that ends TLS')
  const cookie = (await logIn({})).split(';')[0] ?? ''
  t.match(JSON.parse((await ask(`${url}/api/session`, 'GET')).body), { data: { may: ['stream', 'add'], loginNeeded: true, isLoggedIn: false } })
  t.match(JSON.parse((await ask(`${url}/api/session`, 'GET', { Cookie: cookie })).body), { data: { may: ['stream', 'add', 'list', 'manage', 'relay'], loginNeeded: false, isLoggedIn: true } })
  const left = await ask(`${url}/api/session`, 'DELETE', { Cookie: cookie })
  t.match(JSON.parse(left.body), { data: { loginNeeded: true, isLoggedIn: false } })
  t.match(String(left.headers['set-cookie']), /^self_streme_session_0=; Path=\/; Max-Age=0;/)
  t.match(await ask(`${url}/api/torrents`, 'GET', { Cookie: cookie }), { status: 401 })
  t.match(await ask(`${url}/api/session`, 'POST', json, '{"token":"wrong"}'), { status: 401, body: /TOKEN_WRONG/, headers: { 'set-cookie': undefined } })
  const prefixed = await startApp(t, { API_TOKEN: token, BASE_URL: 'https://films.example/here/' })
  t.match((await ask(`${prefixed.url}/api/session`, 'POST', json, JSON.stringify({ token }))).headers['set-cookie']?.[0], /; Path=\/here; .*; Secure$/)
})

t.test('every answer tells browsers to guess nothing, tell nobody and run nothing', async (t) => {
  const { url } = await startApp(t)
  for (const path of ['/health', '/api/torrents', '/no/such/path', '/', '/login', '/docs', `/stream/status/${unknown}`]) {
    const { headers } = await ask(url + path, 'GET')
    t.match(headers, { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'content-security-policy': /default-src 'none'.*frame-ancestors 'none'/s }, path)
  }
  const { headers } = await ask(`${url}/stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd`, 'HEAD')
  t.match(headers, { 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer', 'cross-origin-resource-policy': 'cross-origin', 'content-security-policy': undefined }, 'a film may be in any page')
})

t.test('a login to another server at the same address, by another port, leaves the first one', async (t) => {
  const servers = await Promise.all(['one', 'other'].map(async (name, i) => await startApp(t, { PORT: String(20_000 + i), API_TOKEN: `${name}-${token}` })))
  const jar = new Map<string, string>()
  for (const { app, url } of servers) {
    const answer = await ask(`${url}/api/session`, 'POST', json, JSON.stringify({ token: app.config.API_TOKEN }))
    const [name = '', value = ''] = String(answer.headers['set-cookie']).split(';')[0]?.split('=') ?? []
    jar.set(name, value)
  }
  const Cookie = [...jar].map((pair) => pair.join('=')).join('; ')
  for (const { url } of servers) t.match(await ask(`${url}/api/torrents`, 'GET', { Cookie }), { status: 200 })
})
