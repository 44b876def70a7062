import t from 'tap'
import { httpSeedMirrors } from '../../services/download/http-seeds.ts'
import { directMirrors, templateMirrors, webSeedMirrors } from '../../services/download/mirrors.ts'
import { Webtor } from '../../services/download/webtor.ts'
import { webtorMirrors } from '../../services/download/webtor-mirror.ts'
import { honest, makeTorrent, noise, serve } from '../services/download/origin.ts'
import { startWebtor } from '../webtor.ts'
import { testMirror } from './mirror.ts'
import type { RequestListener, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { Mirror } from '../../services/download/mirror.ts'
import type { Metadata } from '../../services/torrent/metadata.ts'
import type { TestTorrent } from '../services/download/origin.ts'
import type { MirrorCase, Mood } from './mirror.ts'

const PIECE = 16_384
const single = makeTorrent({ name: 'a film+1.mp4', content: noise(100_001) })
const folder = makeTorrent({
  name: 'Root #1?',
  content: [
    [['100%', 'סרט+1.mkv'], noise(4 * PIECE, 'a')], [['a b.srt'], noise(300, 'b')], [['.pad', '1'], Buffer.alloc(PIECE - 300)],
    [['empty.txt'], Buffer.alloc(0)], [['x', "o'z (1).nfo"], noise(5, 'c')], [['big.mkv'], noise(70_001, 'd')]
  ]
})
const folderOfOne = makeTorrent({ name: 'Folder', content: [[['film.mp4'], noise(50_000, 'e')]] })

type Answers = (torrent: TestTorrent) => RequestListener

/** A server that answers as its mood is, and the mirror that `mirrorOf` makes of its address. */
async function caseOf (t: Test, torrent: TestTorrent, answers: Answers, mirrorOf: (url: string, metadata: Metadata) => Mirror[], isTrusted = false): Promise<MirrorCase> {
  let mood: Mood = 'well'
  const silent = new Set<ServerResponse>()
  const answer = answers(torrent)
  const { url, requests } = await serve(t, (request, response) => {
    if (mood === 'well') answer(request, response)
    else if (mood === 'busy') response.writeHead(503, isBep17(request.url) ? {} : { 'retry-after': '7' }).end('7')
    else if (mood === 'missing') response.writeHead(404).end()
    else silent.add(response)
  })
  const [mirror, ...more] = mirrorOf(url.href, torrent.metadata)
  if (mirror === undefined || more.length > 0) throw new Error('not one mirror')
  return { mirror, torrent, requests, isTrusted, setMood: (next) => { mood = next } }
}

function isBep17 (url: string | undefined): boolean {
  return url?.includes('info_hash=') === true
}

/** Files by their encoded path under the root, padding left out. */
const byPath = (root: string): Answers => ({ metadata, files }) => {
  const paths = metadata.files.map(({ components, isPadding }, i) => {
    const path = (metadata.isMultiFile ? [metadata.name, ...components] : [metadata.name]).map(encodeURIComponent).join('/')
    return [isPadding ? '' : `${root}${path}`, files[i] ?? Buffer.alloc(0)] as const
  })
  return honest(new Map(paths))
}

const atOnePath = (path: string, index = 0): Answers => ({ files }) => honest(new Map([[path, files[index] ?? Buffer.alloc(0)]]))

const byIndex: Answers = ({ metadata, files }) => honest(new Map(metadata.files.flatMap(({ isPadding }, i) => isPadding ? [] : [[`/${metadata.infohash}?fileIndex=${i}`, files[i] ?? Buffer.alloc(0)]])))

/** A script as BEP 17 describes it. */
const httpSeed: Answers = ({ metadata, content }) => (request, response) => {
  const [, key, hash = '', piece, from, to] = /^\/seed\.php\?(key=1&)?info_hash=([^&]*)&piece=(\d+)(?:&ranges=(\d+)-(\d+))?$/.exec(request.url ?? '') ?? []
  const infohash = hash.replaceAll('%', '')
  if (key === undefined || infohash !== metadata.infohash || request.headers.range !== undefined) {
    response.writeHead(400).end()
    return
  }
  const bytes = content.subarray(Number(piece) * metadata.pieceLength, (Number(piece) + 1) * metadata.pieceLength)
  response.end(from === undefined ? bytes : bytes.subarray(Number(from), Number(to) + 1))
}

testMirror(t, 'a web seed of a single file', async (t) =>
  await caseOf(t, single, atOnePath('/films/1.mp4'), (url, metadata) => webSeedMirrors({ ...metadata, webSeeds: [`${url}films/1.mp4`] }, [])))

testMirror(t, 'a web seed that is the folder of a single file', async (t) =>
  await caseOf(t, single, byPath('/films/'), (url, metadata) => webSeedMirrors({ ...metadata, webSeeds: [`${url}films/`] }, [])))

testMirror(t, 'a web seed of a folder with odd names', async (t) =>
  await caseOf(t, folder, byPath('/'), (url, metadata) => webSeedMirrors({ ...metadata, webSeeds: [url] }, [])))

testMirror(t, 'a web seed of a folder with one file, without a slash, beside entries that are only paths', async (t) =>
  await caseOf(t, folderOfOne, byPath('/1/items/'), (url, metadata) => webSeedMirrors({ ...metadata, webSeeds: ['/1/items/', `${url}1/items`, ''] }, [])))

testMirror(t, 'a web seed of a magnet (ws)', async (t) =>
  await caseOf(t, folder, byPath('/pub/'), (url, metadata) => webSeedMirrors(metadata, [`${url}pub/`])))

testMirror(t, 'an acceptable source of a magnet (as)', async (t) =>
  await caseOf(t, single, atOnePath('/get?id=1&name=a+b'), (url, metadata) => directMirrors(metadata, [`${url}get?id=1&name=a+b`])))

testMirror(t, 'an acceptable source of a magnet that is one file of a folder', async (t) => {
  const name = encodeURIComponent('סרט+1.mkv')
  return await caseOf(t, folder, atOnePath(`/x/${name}`), (url, metadata) => directMirrors(metadata, [`${url}x/${name}`]))
})

testMirror(t, 'an HTTP seed of a single file (BEP 17)', async (t) =>
  await caseOf(t, single, httpSeed, (url, metadata) => httpSeedMirrors({ ...metadata, httpSeeds: [`${url}seed.php?key=1`] })))

testMirror(t, 'an HTTP seed of a folder (BEP 17)', async (t) =>
  await caseOf(t, folder, httpSeed, (url, metadata) => httpSeedMirrors({ ...metadata, httpSeeds: [`${url}seed.php?key=1`] })))

testMirror(t, "a template with the file's number, such as another Self-Streme", async (t) =>
  await caseOf(t, folder, byIndex, (url, metadata) => templateMirrors([`${url}{hash}?fileIndex={index}`], metadata), true))

testMirror(t, "a template with the file's path", async (t) =>
  await caseOf(t, folder, byPath('/own/'), (url, metadata) => templateMirrors([`${url}own/${encodeURIComponent(metadata.name)}/{path}`], metadata), true))

for (const [variant, torrent, what] of [['current', folder, 'a folder'], ['older', folder, 'a folder'], ['current', single, 'a file'], ['older', single, 'a file']] as const) {
  testMirror(t, `WebTor.io, its ${variant} API, ${what}`, async (t, fetcher) => {
    let mood: Mood = 'well'
    const secrets = { token: 'secret-token', apiKey: 'secret-key' }
    const { url, requests } = await startWebtor(t, torrent, {
      variant,
      ...secrets,
      before (asked, _count, response) {
        if (asked !== 'content' || mood === 'well') return
        if (mood === 'busy') response.writeHead(503, { 'retry-after': '7' }).end()
        else if (mood === 'missing') response.writeHead(404).end()
        else return new Promise(() => {})
      }
    })
    const [mirror] = webtorMirrors({ webtor: new Webtor({ url, ...secrets }, fetcher), metadata: torrent.metadata, trackers: [], closing: new AbortController().signal })
    if (mirror === undefined) throw new Error('no mirror')
    return { mirror, torrent, requests, isTrusted: true, secrets: Object.values(secrets), setMood: (next) => { mood = next } }
  })
}
