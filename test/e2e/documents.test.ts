import { execFile } from 'node:child_process'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../testnet.ts'

const run = promisify(execFile)
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

/** The commands that people have in their notes, with curl itself. */
async function curl (...args: string[]): Promise<{ status: number, body: string }> {
  const { stdout } = await run('curl', ['-s', '-w', '\n%{http_code}', ...args], { maxBuffer: 10_000_000, encoding: 'latin1' })
  const end = stdout.lastIndexOf('\n')
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) }
}

t.test('curl of a cached file, with and without a range', async (t) => {
  const { url, directory } = await startApp(t)
  const film = testBytes(1_048_576, 'film')
  await writeFile(join(directory, `${infohash}-film.mp4`), film)
  const whole = await curl(`${url}/stream/proxy/${infohash}`)
  t.equal(whole.status, 200)
  t.ok(film.equals(Buffer.from(whole.body, 'latin1')))
  const range = await curl('-H', 'Range: bytes=0-1023', `${url}/stream/proxy/${infohash}`)
  t.equal(range.status, 206)
  t.ok(film.subarray(0, 1024).equals(Buffer.from(range.body, 'latin1')))
  const head = await curl('-I', `${url}/stream/proxy/${infohash}`)
  t.match(head.body, /content-length: 1048576/i)
})

t.test('curl of something that is no infohash', async (t) => {
  const { url } = await startApp(t)
  const { status, body } = await curl(`${url}/stream/proxy/nonexistent123456789`)
  t.equal(status, 404)
  t.match(JSON.parse(body), { error: 'Stream not found', reasons: [{ source: 'request', code: 'INFOHASH_INVALID' }] })
})

t.test('curl of the mock', async (t) => {
  const { url } = await startApp(t)
  const { status, body } = await curl(`${url}/stream/proxy/${mockHash}`)
  t.equal(status, 200)
  t.equal(body.length, 2_097_152)
  t.equal(body.slice(4, 8), 'ftyp')
})

t.test('a machine with no network at all: a known infohash ends in the fixed 404 with every reason', async (t) => {
  const { url } = await startApp(t, { ENABLE_P2P: 'true', P2P_TIMEOUT: '1500', TORRENT_METADATA_URLS: 'https://metadata.invalid/{hash}.torrent' })
  const { status, headers, body } = await jsonFrom(`${url}/stream/proxy/${infohash}`)
  t.equal(status, 404)
  t.equal(body.error, 'Stream not found')
  t.same(body.reasons.map(({ source, code }: { source: string, code: string }) => [source, code]), [['p2p', 'P2P_TIMEOUT'], ['http-fallback', 'METADATA_NOT_FOUND']])
  t.match(body.reasons[0].message, /no peer delivered data within 1500 ms/)
  t.ok(Number(headers.get('retry-after')) > 0)
})

t.test('POST adds a torrent, and it downloads to the end with no reader at all', async (t) => {
  const film = testBytes(2_000_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film, 'Film.srt': testBytes(5_000, 'subtitles') }, { name: 'Film', pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { url, directory } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl })
  const magnet = `magnet:?xt=urn:btih:${torrent.infohash}&dn=A+film&ws=${encodeURIComponent(mirror.webSeed)}`
  const post = await curl('-X', 'POST', '-H', 'Content-Type: application/json', '-d', JSON.stringify({ magnetUri: magnet }), `${url}/api/torrents`)
  t.equal(post.status, 202)
  t.match(JSON.parse(post.body), {
    success: true,
    data: { infoHash: torrent.infohash, name: 'A film', cached: false, files: [], streamUrl: `/stream/proxy/${torrent.infohash}`, statusUrl: `/api/torrents/${torrent.infohash}` }
  })
  const { data } = await until('it is cached', async () => {
    const { body } = await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)
    return body.data.status === 'cached' ? body : null
  })
  t.match(data, { name: 'Film', cached: true, progress: 1, downloaded: film.length, length: film.length, fileIndex: 0, reason: null })
  const files = await jsonFrom(`${url}/api/torrents/${torrent.infohash}/files`)
  t.match(files.body.data, [
    { index: 0, name: 'Film.mp4', length: film.length, progress: 1, isVideo: true, streamUrl: `/stream/proxy/${torrent.infohash}?fileIndex=0` },
    { index: 1, name: 'Film.srt', isVideo: false }
  ])
  t.match((await jsonFrom(`${url}/api/torrents`)).body, { success: true, data: [{ infoHash: torrent.infohash, status: 'cached' }] })
  t.equal((await curl('-X', 'POST', '-H', 'Content-Type: application/json', '-d', JSON.stringify({ infoHash: torrent.infohash }), `${url}/api/torrents`)).status, 200, 'added again: it is there')

  const gone = await curl('-X', 'DELETE', `${url}/api/torrents/${torrent.infohash}?deleteFiles=true`)
  t.match(JSON.parse(gone.body), { success: true, data: { infoHash: torrent.infohash, deletedFiles: true } })
  t.equal((await jsonFrom(`${url}/api/torrents/${torrent.infohash}`)).status, 404)
  t.same((await readdir(directory)).filter((name) => name.includes(torrent.infohash)), [])
})

t.test('POST without anything to add, or with nonsense, says what is wrong', async (t) => {
  const { url } = await startApp(t)
  const post = async (body: unknown): Promise<{ status: number, body: unknown }> => await jsonFrom(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
  t.match(await post({}), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await post({ magnetUri: '', infoHash: '' }), { status: 400, body: { error: 'magnetUri or infoHash is required' } })
  t.match(await post({ infoHash: 'xyz' }), { status: 400, body: { message: /"xyz" is not an infohash/ } })
  t.match(await post({ magnetUri: '/etc/passwd' }), { status: 400, body: { message: /magnet/ } })
  t.match(await post({ magnetUri: 'http://127.0.0.1/x.torrent' }), { status: 400, body: { message: /magnet/ } })
  t.match(await jsonFrom(`${url}/api/torrents/${infohash}`), { status: 404, body: { error: 'Torrent not found', infoHash: infohash } })
  t.match(await jsonFrom(`${url}/api/torrents/${infohash}`, { method: 'DELETE' }), { status: 404, body: { error: 'Torrent not found', infoHash: infohash } })
})

t.test('what was added is still there after a restart, and goes on', async (t) => {
  const film = testBytes(500_000, 'film')
  const torrent = await makeTorrent({ 'Film.mp4': film })
  const mirror = await startMirror(t, torrent)
  const directory = join(await temporaryDirectory(t), 'cache')
  const first = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory })
  const body = JSON.stringify({ infoHash: torrent.infohash, name: 'Mine' })
  t.equal((await jsonFrom(`${first.url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })).status, 202)
  await until('it says why it waits', async () => (await jsonFrom(`${first.url}/api/torrents/${torrent.infohash}`)).body.data.reason)
  await first.app.close()
  const second = await startApp(t, { TORRENT_DOWNLOAD_PATH: directory, TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  t.match((await jsonFrom(`${second.url}/api/torrents/${torrent.infohash}`)).body.data, { infoHash: torrent.infohash })
  await until('it is cached', async () => (await jsonFrom(`${second.url}/api/torrents/${torrent.infohash}`)).body.data.status === 'cached')
})

t.test('the commands of TROUBLESHOOTING_P2P.md get an answer, and it has every verdict', async (t) => {
  const text = await readFile(new URL('../../docs/TROUBLESHOOTING_P2P.md', import.meta.url), 'utf8')
  for (const kind of ['no NAT', 'full cone', 'address restricted', 'port restricted', 'symmetric', 'UDP blocked', 'unknown']) t.match(text, `| \`${kind}\` |`)
  const { url } = await startApp(t, { ENABLE_P2P: 'true', P2P_TIMEOUT: '500' })
  const commands = [...text.matchAll(/^\$ curl -s (.+)$/gm)].map(([, args = '']) => args.replace('http://localhost:11470', url).split(' '))
  t.equal(commands.length, 3)
  const answers = []
  for (const args of commands) answers.push(JSON.parse((await curl(...args)).body))
  t.match(answers, [{ success: true, data: { verdict: { kind: 'unknown' } } }, { state: 'unknown' }, { error: 'Stream not found', reasons: [{ source: 'p2p' }] }])
  // What the example shows is what there is.
  const [, example = ''] = /"verdict":(\{.*?\})/.exec(text) ?? []
  t.same(Object.keys(JSON.parse(example)), Object.keys(answers[0].data.verdict))
})
