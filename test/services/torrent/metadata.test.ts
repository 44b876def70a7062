import t from 'tap'
import { createHash } from 'node:crypto'
import { encode } from '../../../services/torrent/bencode.ts'
import { maxTorrentBytes, metadataFromInfo, parseMetadata } from '../../../services/torrent/metadata.ts'
import { bencoded, codeOf, createTorrent, fixture, parseTorrent, seeded, torrentOfFiles, torrentWith } from './oracles.ts'
import type { Test } from 'tap'
import type { Metadata } from '../../../services/torrent/metadata.ts'
import type { OracleTorrent } from './oracles.ts'

const fixtures = ['leaves', 'alice', 'folder', 'numbers', 'lotsOfNumbers', 'bunny', 'sintel', 'leavesMetadata']
const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

function sameAs (t: Test, metadata: Metadata, oracle: OracleTorrent): void {
  const ours = metadata.files.map(file => ({ path: metadata.isMultiFile ? `${metadata.name}/${file.path}` : file.path, name: file.name, length: file.lengthBytes, offset: file.offset }))
  t.equal(metadata.infohash, oracle.infoHash)
  t.equal(metadata.name, oracle.name)
  t.equal(metadata.lengthBytes, oracle.length)
  t.equal(metadata.pieceLength, oracle.pieceLength)
  t.same(ours, oracle.files.map(({ path, name, length, offset }) => ({ path, name, length, offset })))
  t.same(Array.from({ length: metadata.pieceCount }, (_, piece) => metadata.hashOf(piece).toString('hex')), oracle.pieces)
  t.same(metadata.files.map(file => file.index), metadata.files.map((_, index) => index))
  t.same(metadata.trackers, oracle.announce)
  t.same(metadata.webSeeds, oracle.urlList)
  t.equal(metadata.isPrivate, oracle.private ?? false)
  // some fixtures have milliseconds where seconds belong: parse-torrent dates them in the year 47996
  const created = oracle.created === undefined ? null : oracle.created.getUTCFullYear() > 9999 ? new Date(oracle.created.getTime() / 1000) : oracle.created
  t.same(metadata.createdAt, created)
}

t.test('reads real torrents as parse-torrent does', async t => {
  for (const name of fixtures) {
    await t.test(name, async t => {
      const { torrent } = fixture(name)
      const oracle = await parseTorrent(torrent)
      const metadata = parseMetadata(torrent, oracle.infoHash)
      sameAs(t, metadata, oracle)
      t.equal(metadata.torrent, torrent)
    })
  }
  t.equal(parseMetadata(fixture('folder').torrent).isMultiFile, true, 'a folder with one file in it is a folder')
  t.equal(parseMetadata(fixture('alice').torrent).isMultiFile, false)
  t.equal(parseMetadata(fixture('bunny').torrent).isPrivate, true)
})

t.test('the piece hashes are those of the content', async t => {
  const { torrent, content } = fixture('leaves')
  const metadata = parseMetadata(torrent, 'd2474e86c95b19b8bcfdb92bc12c9d44667cfa36')
  t.equal(metadata.pieceCount, 23)
  for (let piece = 0; piece < metadata.pieceCount; piece++) {
    const bytes = content.subarray(piece * metadata.pieceLength, (piece + 1) * metadata.pieceLength)
    t.equal(metadata.hashOf(piece).toString('hex'), sha1(bytes), `piece ${piece}`)
  }
  for (const piece of [-1, 23, 0.5, NaN]) t.throws(() => metadata.hashOf(piece), RangeError)
})

t.test('reads torrents that create-torrent makes, whatever the files are called', async t => {
  const random = seeded(7)
  const bytes = (length: number): Buffer => Buffer.from(Array.from({ length }, () => Math.floor(random() * 256)))
  const names = ['a#1?.mp4', '100%/שלום עולם.mkv', 'with space/+plus & more.srt', '..%2f.txt', `${'x'.repeat(300)}.mp4`, 'empty.txt', '日本/語.mp4']
  const torrent = await createTorrent(names.map(name => [`Some Folder/${name}`, bytes(name === 'empty.txt' ? 0 : 5000)]), {
    pieceLength: 16384,
    announceList: [['udp://tracker.example:6969', 'http://tracker.example/announce'], ['wss://tracker.example'], ['udp://tracker.example:6969']],
    urlList: ['https://mirror.example/files/'],
    private: true
  })
  const metadata = parseMetadata(torrent)
  sameAs(t, metadata, await parseTorrent(torrent))
  t.same(metadata.files.map(file => file.components), names.map(name => name.split('/')))

  const single = await createTorrent([['movie.mp4', bytes(70000)]], { pieceLength: 16384 })
  sameAs(t, parseMetadata(single), await parseTorrent(single))
})

t.test('the infohash is that of the raw bytes, also where keys are out of order', async t => {
  const info = Buffer.concat([Buffer.from('d6:pieces60:'), Buffer.alloc(60, 7), Buffer.from('12:piece lengthi16384e6:lengthi40000e4:name1:ae')])
  const metadata = parseMetadata(Buffer.concat([Buffer.from('d4:info'), info, Buffer.from('e')]))
  t.equal(metadata.infohash, sha1(info))
})

t.test('another torrent than the one asked for is a mismatch', async t => {
  const { torrent } = fixture('alice')
  t.throws(() => parseMetadata(torrent, 'd2474e86c95b19b8bcfdb92bc12c9d44667cfa36'), {
    code: 'METADATA_MISMATCH',
    message: 'this .torrent is 722fe65b2aa26d14f35b4ad627d20236e481d924, not d2474e86c95b19b8bcfdb92bc12c9d44667cfa36'
  })
  const changed = Buffer.from(torrent)
  changed.writeUInt8(changed.readUInt8(changed.length - 5) ^ 1, changed.length - 5)
  t.equal(codeOf(() => parseMetadata(changed, '722fe65b2aa26d14f35b4ad627d20236e481d924')), 'METADATA_MISMATCH')
})

t.test('a v2-only torrent is named so, a hybrid works by its v1 part', async t => {
  const tree = { 'movie.mp4': { '': { length: 40000, 'pieces root': Buffer.alloc(32, 1) } } }
  const v2 = { 'meta version': 2, 'file tree': tree }
  const pure = torrentWith({ ...v2, pieces: undefined, length: undefined })
  const hash = createHash('sha256').update(bencoded({ name: 'movie.mp4', 'piece length': 16384, ...v2 })).digest('hex').slice(0, 40)
  t.throws(() => parseMetadata(pure), { code: 'METADATA_V2_ONLY', message: /BitTorrent v2/ })
  t.equal(codeOf(() => parseMetadata(pure, hash)), 'METADATA_V2_ONLY')
  t.equal(codeOf(() => parseMetadata(pure, 'a'.repeat(40))), 'METADATA_MISMATCH')

  const layers = Object.fromEntries(Array.from({ length: 5000 }, (_, i) => [`${i}`.padStart(32, 'x'), Buffer.alloc(64)]))
  const hybrid = parseMetadata(torrentWith(v2, { 'piece layers': layers }))
  t.equal(hybrid.pieceCount, 3)
  t.equal(hybrid.files[0]?.name, 'movie.mp4')
})

t.test('says what is wrong with a torrent that cannot be used', async t => {
  const file = { length: 40000, path: ['movie.mp4'] }
  const table: ReadonlyArray<readonly [RegExp, Buffer]> = [
    [/info\.name is missing/, fixture('corrupt').torrent],
    [/bencode at byte 0/, Buffer.from('<html>')],
    [/bencode at byte 0/, Buffer.alloc(0)],
    [/not a dictionary/, Buffer.from('le')],
    [/no info dictionary/, Buffer.from('de')],
    [/no info dictionary/, bencoded({ info: [] })],
    [/no info dictionary/, bencoded({ info: 'd1:ae' })],
    [/info\.name is missing/, torrentWith({ name: 5 })],
    [/info\.name has more than 4096 bytes/, torrentWith({ name: 'n'.repeat(4097) })],
    [/files\[1\]\.path has more than 4096 bytes/, torrentOfFiles([file, { length: 1, path: ['a', 'n'.repeat(4095)] }])],
    [/files\[0\]\.path has more than 4096 bytes/, torrentOfFiles([{ length: 1, path: Array.from({ length: 4097 }, () => '') }])],
    [/more than 1000 keys in one dictionary/, torrentWith(Object.fromEntries(Array.from({ length: 1001 }, (_, i) => [`x${i}`, i])))],
    [/info\.length is not a length/, torrentWith({ length: undefined })],
    [/info\.length is not a length/, torrentWith({ length: -1 })],
    [/info\.length is not a length/, torrentWith({ length: '40000' })],
    [/hold no bytes/, torrentWith({ length: 0, pieces: '' })],
    [/piece length"\] is not a positive number/, torrentWith({ 'piece length': undefined })],
    [/piece length"\] is not a positive number/, torrentWith({ 'piece length': 0 })],
    [/piece length"\] is not a positive number/, torrentWith({ 'piece length': -16384 })],
    [/larger than 67108864/, torrentWith({ 'piece length': 67108865 })],
    [/smaller than 1024/, torrentWith({ 'piece length': 1023, length: 1024, pieces: Buffer.alloc(40) })],
    [/info\.pieces is missing/, torrentWith({ pieces: undefined })],
    [/info\.pieces is missing/, torrentWith({ pieces: [] })],
    [/need 3 hashes of 20/, torrentWith({ pieces: Buffer.alloc(59) })],
    [/need 3 hashes of 20/, torrentWith({ pieces: Buffer.alloc(40) })],
    [/need 3 hashes of 20/, torrentWith({ pieces: Buffer.alloc(80) })],
    [/need 2 hashes of 20/, torrentWith({ length: 32768 })],
    [/not a list of files/, torrentWith({ files: {} })],
    [/not a list of files/, torrentOfFiles([])],
    [/files\[1\] is not a dictionary/, torrentOfFiles([file, 'x'])],
    [/files\[0\]\.length is not a length/, torrentOfFiles([{ path: ['a'] }])],
    [/files\[0\]\.length is not a length/, torrentOfFiles([{ ...file, length: -1 }])],
    [/files\[0\]\.path is not a list/, torrentOfFiles([{ length: 40000 }])],
    [/files\[0\]\.path is not a list/, torrentOfFiles([{ ...file, path: [] }])],
    [/files\[0\]\.path is not a list/, torrentOfFiles([{ ...file, path: 'movie.mp4' }])],
    [/files\[0\]\.path holds something/, torrentOfFiles([{ ...file, path: ['a', 5] }])],
    [/too long together/, torrentOfFiles([{ ...file, length: Number.MAX_SAFE_INTEGER }, file])],
    [/symlink with bytes/, torrentOfFiles([{ ...file, attr: 'l' }])],
    [/100001 files, more than 100000/, torrentOfFiles(Array.from({ length: 100_001 }, () => ({ length: 1, path: ['a'] })))],
    [/10485761 bytes, more than/, Buffer.alloc(maxTorrentBytes + 1)]
  ]
  for (const [message, torrent] of table) t.throws(() => parseMetadata(torrent), { code: 'METADATA_INVALID', message }, String(message))
})

t.test('a torrent of one small piece, of 64 MiB pieces and of 100,000 files is read', async t => {
  t.equal(parseMetadata(torrentWith({ length: 5, 'piece length': 5, pieces: Buffer.alloc(20) })).pieceCount, 1)
  t.equal(parseMetadata(torrentWith({ length: 2048, 'piece length': 1024, pieces: Buffer.alloc(40) })).pieceCount, 2)
  t.equal(parseMetadata(torrentWith({ 'piece length': 67108864, pieces: Buffer.alloc(20) })).pieceCount, 1)
  const many = parseMetadata(torrentOfFiles(Array.from({ length: 100_000 }, (_, i) => ({ length: 1, path: [String(i)] })), { pieces: Buffer.alloc(140) }))
  t.equal(many.files.length, 100_000)
  t.match(many.files[99_999], { index: 99_999, offset: 99_999, path: '99999' })
})

t.test('padding is known by its attribute or by where it lies', async t => {
  const pad = (path: string[], attr?: string): { length: number, path: string[], attr: string | undefined } => ({ length: 10, path, attr })
  const { files } = parseMetadata(torrentOfFiles([
    { length: 39940, path: ['movie.mp4'], attr: 'x' },
    pad(['.pad', '10']), pad(['anything'], 'p'), pad(['anything'], 'xp'), pad(['.____padding_file', '0']),
    pad(['_____padding_file_0_if you see this file, please update to BitComet 0.85 or above____']),
    pad(['Season 1', '.pad'])
  ]))
  t.same(files.map(file => file.isPadding), [false, true, true, true, true, true, false])
  t.same(files.map(file => file.offset), [0, 39940, 39950, 39960, 39970, 39980, 39990])
})

t.test('a symlink and an empty file are files without bytes', async t => {
  const { files } = parseMetadata(torrentOfFiles([
    { path: ['link.mp4'], attr: 'l', 'symlink path': ['movie.mp4'] },
    { path: ['other.mp4'], attr: 'l', length: 0, 'symlink path': ['..', '..', 'etc', 'passwd'] },
    { path: ['empty.txt'], length: 0 },
    { path: ['movie.mp4'], length: 40000 }
  ]))
  t.same(files.map(file => file.lengthBytes), [0, 0, 0, 40000])
  t.same(files.map(file => file.offset), [0, 0, 0, 0])
})

t.test('names are UTF-8, preferably those that say so, and a broken one breaks nothing', async t => {
  const metadata = parseMetadata(torrentOfFiles([
    { length: 40000, path: [Buffer.from([0xe9, 0x2e])], 'path.utf-8': ['é.mp4'] },
    { length: 0, path: [Buffer.from([0xff, 0x61, 0xc3])] },
    { length: 0, path: ['..', '', 'C:\\x\0y'] }
  ], { name: Buffer.from([0xe9]), 'name.utf-8': 'été' }))
  t.equal(metadata.name, 'été')
  t.same(metadata.files.map(file => file.components), [['é.mp4'], ['\ufffda\ufffd'], ['..', '', 'C:\\x\0y']])
  t.equal(metadata.files[2]?.name, 'C:\\x\0y')
})

t.test('trackers are flattened, unlike ones once, junk and other schemes left out', async t => {
  const { trackers } = parseMetadata(torrentWith({}, {
    announce: 'udp://a.example:1/announce',
    'announce-list': [
      ['udp://a.example:1/announce', ' http://b.example/announce\r\n'], ['wss://c.example', 'ws://d.example'], 'https://e.example/x?k=v', [],
      ['', 'dht://x', 'file:///etc/passwd', 'javascript:alert(1)', 'http://', 'http://f.example/\ny', `http://g.example/${'g'.repeat(3000)}`, 5, ['http://deep.example']],
      ['http://B.example/announce']
    ]
  }))
  t.same(trackers, ['udp://a.example:1/announce', 'http://b.example/announce', 'wss://c.example', 'ws://d.example', 'https://e.example/x?k=v'])
  const many = parseMetadata(torrentWith({}, { 'announce-list': [Array.from({ length: 500 }, (_, i) => `udp://t${i}.example:1`)] }))
  t.equal(many.trackers.length, 50)
})

t.test('seeds are http(s) URLs without credentials, from a text or a list', async t => {
  const seedsOf = (list: string | string[]): readonly string[] => parseMetadata(torrentWith({}, { 'url-list': list })).webSeeds
  t.same(seedsOf('https://mirror.example/files/'), ['https://mirror.example/files/'])
  t.same(seedsOf(''), [])
  t.same(seedsOf(['https://archive.org/download/', '/1/items/', 'ftp://x.example/', 'http://user:secret@x.example/', 'http://ia1.example/1/items/', 'https://archive.org/download/']),
    ['https://archive.org/download/', 'http://ia1.example/1/items/'])
  const { webSeeds, httpSeeds } = parseMetadata(torrentWith({}, { 'url-list': { a: 'http://x.example/' }, httpseeds: ['http://seed.example/seed.php', 'udp://x.example:1'] }))
  t.same(webSeeds, [])
  t.same(httpSeeds, ['http://seed.example/seed.php'])
})

t.test('the creation date is kept where it is one', async t => {
  const dateOf = (date: number | string): Date | null => parseMetadata(torrentWith({}, { 'creation date': date })).createdAt
  t.same(dateOf(1700000000), new Date(1700000000000))
  t.same(dateOf(1700000000123), new Date(1700000000123), 'milliseconds are known by their size')
  for (const junk of [0, -5, Number.MAX_SAFE_INTEGER, '1700000000']) t.equal(dateOf(junk), null)
})

t.test('an info dictionary from peers becomes the same torrent, byte for byte', async t => {
  for (const name of fixtures) {
    const original = parseMetadata(fixture(name).torrent)
    const start = original.torrent.indexOf('4:info') + 6
    const info = [...Array(original.torrent.length - start).keys()].map(cut => original.torrent.subarray(start, original.torrent.length - cut)).find(slice => sha1(slice) === original.infohash)
    if (info === undefined) throw new Error(`no info dictionary in ${name}`)
    const wrapped = metadataFromInfo(info, original.infohash, ['udp://a.example:1', 'junk', 'udp://b.example:1'])
    t.equal(wrapped.torrent.indexOf(info), wrapped.torrent.length - info.length - 1)
    t.same(wrapped.trackers, ['udp://a.example:1', 'udp://b.example:1'])
    t.same(wrapped.files, original.files)
    t.equal((await parseTorrent(wrapped.torrent)).infoHash, original.infohash)
    t.equal(parseMetadata(metadataFromInfo(info, original.infohash, []).torrent, original.infohash).trackers.length, 0)
  }
})

t.test('an info dictionary that is not the one asked for, or more than one, is refused', async t => {
  const info = bencoded({ name: 'a', length: 5, 'piece length': 16384, pieces: Buffer.alloc(20) })
  const hash = sha1(info)
  t.equal(codeOf(() => metadataFromInfo(info, hash, [])), 'nothing was thrown')
  t.equal(codeOf(() => metadataFromInfo(info, 'a'.repeat(40), [])), 'METADATA_MISMATCH')
  const smuggled = Buffer.concat([info, encode('url-list'), encode('http://evil.example/')])
  t.equal(codeOf(() => metadataFromInfo(smuggled, hash, [])), 'METADATA_MISMATCH')
  t.equal(codeOf(() => metadataFromInfo(smuggled, sha1(smuggled), [])), 'METADATA_MISMATCH')
  for (const junk of ['', 'i5e', 'd', 'le']) t.equal(codeOf(() => metadataFromInfo(Buffer.from(junk), sha1(Buffer.from(junk)), [])), 'METADATA_INVALID', junk)
  const v2 = bencoded({ name: 'a', 'meta version': 2, 'file tree': {}, 'piece length': 16384 })
  t.equal(codeOf(() => metadataFromInfo(v2, createHash('sha256').update(v2).digest('hex').slice(0, 40), [])), 'METADATA_V2_ONLY')
})
