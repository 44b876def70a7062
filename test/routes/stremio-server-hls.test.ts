import { createServer } from 'node:http'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { listenOnLoopback } from '../loopback.ts'
import { temporaryDirectory } from '../testnet.ts'
import { mockHash } from '../../routes/schemas.ts'

const film = `mediaURL=${encodeURIComponent(`/stream/proxy/${mockHash}`)}`

t.test('without ffmpeg there is no HLS, and the answer says what to install', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = await temporaryDirectory(t)
  t.teardown(() => { process.env['PATH'] = path })
  const { url } = await startApp(t)
  for (const route of ['probe?mediaURL=x', 'one/master.m3u8?mediaURL=x', 'one/video0-copy.m3u8?mediaURL=x', 'one/video0-copy/0.m4s?mediaURL=x', 'one/destroy', 'status']) {
    const { status, body } = await jsonFrom(`${url}/hlsv2/${route}`)
    t.equal(status, 404, route)
    t.match(body.message, /install ffmpeg/)
  }
})

t.test('what is no file, no playlist or no part is refused with what is wrong', async (t) => {
  const { app, url } = await startApp(t)
  if (app.hls === null) return t.pass('no ffmpeg here', { skip: 'no ffmpeg here' })
  for (const [path, status, words] of [
    ['probe', 400, /mediaURL/],
    ['probe?mediaURL=file:///etc/passwd', 400, /neither a file of this server/],
    ['probe?mediaURL=concat:a', 400, /neither a file of this server/],
    [`probe?mediaURL=${encodeURIComponent(`${url}/metrics`)}`, 400, /neither a file of this server/],
    [`probe?mediaURL=${encodeURIComponent('/stream/proxy/zzz')}`, 400, /neither a file of this server/],
    [`one/master.m3u?${film}`, 404, /"master.m3u" is not a playlist/],
    [`one/video0.m3u8?${film}`, 404, /is not a playlist/],
    [`one/video7-h264-640.m3u8?${film}`, 404, /no such track/],
    [`one/audio0-copy.m3u8?${film}`, 404, /no such track/],
    [`one/video0-h264-640/x.m4s?${film}`, 404, /is not a part/],
    [`one/video0-h264-640/99999.m4s?${film}`, 404, /no such part/],
    [`one%2f..%2ftwo/master.m3u8?${film}`, 400, /id/]
  ] as const) {
    const answer = await jsonFrom(`${url}/hlsv2/${path}`)
    t.equal(answer.status, status, path)
    t.match([answer.body.message, ...(answer.body.details ?? []).map(({ field }: { field: string }) => field)].join(' '), words, path)
  }
})

t.test('the mock plays as HLS, in any page, and below a secret path', async (t) => {
  const { app, url } = await startApp(t, { STREAM_ACCESS: 'signed', API_TOKEN: 'a-token-of-some-length' })
  if (app.hls === null) return t.pass('no ffmpeg here', { skip: 'no ffmpeg here' })
  for (const path of [`probe?${film}`, `one/master.m3u8?${film}`, `one/video0-h264-640/0.m4s?${film}`]) t.equal((await fetch(`${url}/hlsv2/${path}`)).status, 401, path)
  const secret = (await app.access.secretPaths.create('the TV'))?.secret ?? ''
  const master = await fetch(`${url}/t/${secret}/hlsv2/one/master.m3u8?${film}&videoCodecs=vp9`, { headers: { Origin: 'https://any.example' } })
  t.equal(master.status, 200)
  t.equal(master.headers.get('access-control-allow-origin'), '*')
  t.equal(master.headers.get('content-type'), 'application/vnd.apple.mpegurl')
  const addressIn = (text: string): string => text.split('\n').find((line) => line !== '' && !line.startsWith('#')) ?? ''
  const playlistUrl = new URL(addressIn(await master.text()), master.url)
  const text = await (await fetch(playlistUrl)).text()
  t.match(playlistUrl.pathname, `/t/${secret}/hlsv2/one/video`)
  const segment = await fetch(new URL(addressIn(text), playlistUrl))
  t.equal(segment.status, 200)
  t.equal(segment.headers.get('content-type'), 'video/mp4')
  t.equal(Buffer.from(await segment.arrayBuffer()).toString('latin1', 4, 8), 'moof')
  t.equal((await fetch(new URL(addressIn(text), playlistUrl), { method: 'HEAD' })).status, 200)
  const preflight = await fetch(playlistUrl, { method: 'OPTIONS', headers: { Origin: 'https://any.example', 'Access-Control-Request-Method': 'GET', 'Access-Control-Request-Private-Network': 'true' } })
  t.equal(preflight.headers.get('access-control-allow-private-network'), 'true')
})

t.test('a film elsewhere is asked for in the name of who stands behind it, and never in a circle', async (t) => {
  const vias: Array<string | undefined> = []
  const elsewhere = await listenOnLoopback(t, createServer(({ headers }, response) => {
    vias.push(headers.via)
    response.writeHead(404).end()
  }))
  const { app, url } = await startApp(t, { API_TOKEN: 'a-token-of-some-length', HTTP_ALLOW_PRIVATE_NETWORKS: 'true' })
  if (app.hls === null) return t.pass('no ffmpeg here', { skip: 'no ffmpeg here' })
  const ask = async (headers: Record<string, string>): Promise<number> => (await fetch(`${url}/hlsv2/probe?mediaURL=${encodeURIComponent(`${elsewhere}/film.mkv`)}`, { headers: { Authorization: 'Bearer a-token-of-some-length', ...headers } })).status
  t.equal(await ask({}), 404)
  t.same(vias.splice(0), [`1.1 ${app.addonHop}`])
  t.equal(await ask({ Via: `1.1 ${app.addonHop}` }), 404)
  t.same(vias, [], 'it is not asked for again')
})
