import { readdir } from 'node:fs/promises'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import { startWebtor } from '../webtor.ts'

const film = testBytes(3_000_000, 'film')
const secrets = { token: 'secret-token', apiKey: 'secret-key' }
const access = { WEBTOR_TOKEN: secrets.token, WEBTOR_API_KEY: secrets.apiKey }

for (const variant of ['current', 'older'] as const) {
  t.test(`with WebTor.io as the only mirror (${variant} API) a film plays, seeks, and is in the cache afterwards`, async (t) => {
    const torrent = await makeTorrent({ 'readme.txt': testBytes(5000, 'readme'), 'Film #1.mp4': film }, { name: 'Folder', pieceLength: 65_536 })
    const { metadataUrl } = await startMirror(t, torrent)
    const webtor = await startWebtor(t, { metadata: torrent.metadata, files: torrent.files.map(({ bytes }) => bytes) }, { variant, ...secrets })
    const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: metadataUrl, WEBTOR_URL: webtor.url, ...access })
    const stream = `${url}/stream/proxy/${torrent.infohash}`

    const middle = await fetch(stream, { headers: { Range: 'bytes=2000000-2099999' } })
    t.equal(middle.status, 206)
    t.equal(middle.headers.get('x-stream-source'), 'http-fallback')
    t.equal(middle.headers.get('x-stream-verified'), 'true')
    t.ok(film.subarray(2_000_000, 2_100_000).equals(Buffer.from(await middle.arrayBuffer())))
    webtor.expire()
    t.ok(film.equals(await bytesFrom(stream)), 'also after the address has expired')
    t.notMatch(JSON.stringify((await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)).body), /secret/)
    await until('it is served from the cache', async () => (await fetch(stream, { method: 'HEAD' })).headers.get('x-stream-source') === 'cache')
    t.ok((await readdir(directory)).includes(`${torrent.infohash}-Film #1.mp4`))
  })
}

t.test('a WebTor.io that refuses us is a reason that names no secret', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film })
  const { metadataUrl } = await startMirror(t, torrent)
  const webtor = await startWebtor(t, { metadata: torrent.metadata, files: [film] }, { token: 'another' })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: metadataUrl, WEBTOR_URL: webtor.url, ...access })
  const { status, body } = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)
  t.equal(status, 404)
  t.match(body.reasons, [{ source: 'http-fallback', code: 'HTTP_MIRRORS_FAILED', message: /refuses us.*WEBTOR_TOKEN/ }])
  t.notMatch(JSON.stringify(body), /secret/)
})

t.test('a WebTor.io that looks for the torrent for minutes keeps nobody from another mirror', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const webtor = await startWebtor(t, { metadata: torrent.metadata, files: [film] }, { before: (asked) => asked === 'add' ? new Promise(() => {}) : undefined })
  const { url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl, WEBTOR_URL: webtor.url })
  const startedAt = performance.now()
  t.ok(film.equals(await bytesFrom(`${url}/stream/proxy/${torrent.infohash}`)))
  t.ok(performance.now() - startedAt < 4000, `${Math.round(performance.now() - startedAt)} ms`)
})
