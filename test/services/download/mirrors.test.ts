import t from 'tap'
import { directMirrors, templateMirrors, webSeedMirrors } from '../../../services/download/mirrors.ts'
import type { Mirror, MirrorRequest } from '../../../services/download/mirror.ts'
import type { Metadata, TorrentFile } from '../../../services/torrent/metadata.ts'

const infohash = '39730aa7c09b864432bc8c878c20c933059241fd'

function file (components: string[], index = 0): TorrentFile {
  return { index, components, name: components.at(-1) ?? '', path: components.join('/'), lengthBytes: 1, offset: 0, isPadding: false }
}

function torrent (name: string, files: TorrentFile[], isMultiFile: boolean, webSeeds: string[]): Metadata {
  return {
    infohash, name, isMultiFile, files, webSeeds, isPrivate: false, lengthBytes: 1, pieceLength: 1, pieceCount: 1, trackers: [], httpSeeds: [], createdAt: null, torrent: Buffer.alloc(0), hashOf: () => Buffer.alloc(20)
  }
}

async function requestOf (mirror: Mirror | undefined, file: TorrentFile): Promise<MirrorRequest | undefined> {
  return await mirror?.request({ file, start: 0, end: 0 }, AbortSignal.timeout(1000))
}

async function urlOf (mirror: Mirror | undefined, file: TorrentFile): Promise<URL | undefined> {
  return (await requestOf(mirror, file))?.url
}

t.test('a web seed of a single file is the file; with a slash at its end, its folder', async (t) => {
  const video = file(['a b.mp4'])
  for (const [seed, url] of [
    ['http://seed.example/x.mp4', 'http://seed.example/x.mp4'],
    ['http://seed.example/get?id=1&t=a%2Bb', 'http://seed.example/get?id=1&t=a%2Bb'],
    ['http://seed.example/folder/', 'http://seed.example/folder/a%20b.mp4'],
    ['http://seed.example', 'http://seed.example/']
  ] as const) {
    const [mirror] = webSeedMirrors(torrent('a b.mp4', [video], false, [seed]), [])
    t.equal((await urlOf(mirror, video))?.href, url)
    t.equal((await requestOf(mirror, video))?.isTrusted, false)
    t.equal(mirror?.name, 'seed.example')
  }
})

t.test('a web seed of a folder is a folder, with one file in it too, with and without the slash', async (t) => {
  const video = file(['s1', 'e1.mkv'])
  for (const seed of ['http://seed.example/pub', 'http://seed.example/pub/']) {
    const [mirror] = webSeedMirrors(torrent('Show', [video], true, [seed]), [])
    t.equal((await urlOf(mirror, video))?.href, 'http://seed.example/pub/Show/s1/e1.mkv')
  }
})

t.test('names with every kind of odd letter reach the server as they are', async (t) => {
  for (const name of ['a#b', 'a?b', '100%', '%41', 'a b', 'a+b', 'סרט עברי.mkv', 'é\u0301', '🎬', 'a;b=c&d', 'a\\b', '...', 'a"<>|*', ' lead', 'a\nb', "o'brien (1)", '~x']) {
    const odd = file(['dir+1', name])
    const [mirror] = webSeedMirrors(torrent('Root #1', [odd], true, ['https://seed.example']), [])
    const url = await urlOf(mirror, odd)
    t.strictSame(url?.pathname.split('/').slice(1).map(decodeURIComponent), ['Root #1', 'dir+1', name], name)
    t.equal(url?.search, '')
    t.notMatch(url?.pathname, /\+/, 'some servers read + as a space')
  }
})

t.test('names that no URL can say belong to no mirror, broken text is no crash', async (t) => {
  for (const component of ['.', '..']) {
    const hostile = file([component, 'etc'])
    t.equal(webSeedMirrors(torrent('x', [hostile], true, ['http://seed.example/']), [])[0]?.mayHave(hostile), false)
    t.equal(templateMirrors(['http://own.example/{path}'], { infohash })[0]?.mayHave(hostile), false)
  }
  const broken = file(['\ud800.mkv'])
  t.equal((await urlOf(webSeedMirrors(torrent('x', [broken], true, ['http://seed.example/']), [])[0], broken))?.pathname, '/x/%EF%BF%BD.mkv')
})

t.test('seeds of the magnet count too; twice the same, other schemes and nonsense do not', async (t) => {
  const video = file(['v.mp4'])
  const mirrors = webSeedMirrors(torrent('v.mp4', [video], false, ['http://a.example/v.mp4', 'ftp://b.example/v.mp4', 'nonsense']), ['http://a.example/v.mp4', 'https://c.example/v', ''])
  t.strictSame(mirrors.map(({ name }) => name), ['a.example', 'c.example'])
})

t.test("a magnet's acceptable source is the file itself, in a folder the one of that name, else the one people mean", async (t) => {
  const [text, video, episode] = [file(['readme.txt']), { ...file(['big.mp4'], 1), lengthBytes: 9 }, file(['s 1', 'e 1.mkv'], 2)]
  const single = torrent('v.mp4', [file(['v.mp4'])], false, [])
  t.equal((await urlOf(directMirrors(single, ['http://a.example/get?id=1'])[0], file(['v.mp4'])))?.href, 'http://a.example/get?id=1')
  t.equal((await urlOf(directMirrors(single, ['http://a.example/x/'])[0], file(['v.mp4'])))?.href, 'http://a.example/x/v.mp4')
  const folder = torrent('Show', [text, video, episode], true, ['http://seed.example/'])
  for (const [source, wanted] of [['http://a.example/get?id=1', video], ['http://a.example/some/e%201.mkv', episode], ['http://a.example/readme.txt', text]] as const) {
    const [mirror, ...more] = directMirrors(folder, [source])
    t.strictSame(more, [])
    t.equal((await urlOf(mirror, wanted))?.href, source)
    t.strictSame([text, video, episode].filter((each) => mirror?.mayHave(each)), [wanted])
  }
  t.equal((await urlOf(directMirrors(folder, ['http://a.example/pub/'])[0], episode))?.href, 'http://a.example/pub/Show/s%201/e%201.mkv')
  t.strictSame(directMirrors(folder, ['nonsense', 'ftp://a.example/x']), [])
})

t.test('templates of the operator', async (t) => {
  const video = file(['Se#1', 'ep 1+2?.mkv'], 4)
  for (const [template, url] of [
    ['http://own.example/stream/proxy/{hash}?fileIndex={index}', `http://own.example/stream/proxy/${infohash}?fileIndex=4`],
    ['http://ts.example:8090/stream/{name}?link={HASH}&index={index1}&play', `http://ts.example:8090/stream/ep%201%2B2%3F.mkv?link=${infohash.toUpperCase()}&index=5&play`],
    ['https://files.example/{path}', 'https://files.example/Se%231/ep%201%2B2%3F.mkv'],
    ['https://user:pass@files.example/{path}?{other}', 'https://user:pass@files.example/Se%231/ep%201%2B2%3F.mkv?{other}']
  ] as const) {
    const [mirror] = templateMirrors([template], { infohash })
    t.equal((await urlOf(mirror, video))?.href, url)
    t.equal((await requestOf(mirror, video))?.isTrusted, true)
    t.notMatch(mirror?.name, /pass/)
  }
  t.strictSame(templateMirrors(['{hash}', 'file:///{path}', ''], { infohash }), [])
})
