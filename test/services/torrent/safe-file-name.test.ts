import t from 'tap'
import { readdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join, posix, resolve, win32 } from 'node:path'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import { safeFileName, storedFileName } from '../../../services/torrent/safe-file-name.ts'
import { seeded, torrentOfFiles } from './oracles.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'

/** Names that a torrent may bring and what becomes of them. */
const table: ReadonlyArray<readonly [string, string]> = [
  ['movie.mp4', 'movie.mp4'],
  ['With space #1 100% (x) [y] & \'z\' +.mkv', 'With space #1 100% (x) [y] & \'z\' +.mkv'],
  ['סרט טוב.mp4', 'סרט טוב.mp4'],
  ['日本語 🎬.webm', '日本語 🎬.webm'],
  ['.hidden', '.hidden'],
  ['what?.mkv', 'what_.mkv'],
  ['../../etc/passwd', '.._.._etc_passwd'],
  ['/etc/passwd', '_etc_passwd'],
  ['C:\\Windows\\x.exe', 'C__Windows_x.exe'],
  ['file.mp4:stream', 'file.mp4_stream'],
  ['a<b>c"d|e*f.mp4', 'a_b_c_d_e_f.mp4'],
  ['..', 'unnamed'],
  ['.', 'unnamed'],
  ['...', 'unnamed'],
  ['', 'unnamed'],
  ['   ', 'unnamed'],
  ['\0', 'unnamed'],
  ['\u202e', 'unnamed'],
  ['/', '_'],
  ['a\0b\nc\x7f\x9f.mp4', 'abc.mp4'],
  ['.\0.', 'unnamed'],
  ['.\u200f./x', '.._x'],
  ['movie\u202e4pm.exe', 'movie4pm.exe'],
  ['trailing dots... ', 'trailing dots'],
  ['trailing . . \u00a0', 'trailing'],
  ['  leading.mp4', 'leading.mp4'],
  ['movie.mp4.', 'movie.mp4'],
  ['e\u0301te\u0301.mp4', 'été.mp4'],
  ['\ud800x.mp4', '\ufffdx.mp4'],
  ['CON', '_CON'],
  ['con.mp4', '_con.mp4'],
  ['CON.mp4', '_CON.mp4'],
  ['CON .mp4', '_CON .mp4'],
  ['C\u200eON.mp4', '_CON.mp4'],
  ['nul.tar.gz', '_nul.tar.gz'],
  ['COM1', '_COM1'],
  ['lpt9.txt', '_lpt9.txt'],
  ['COM².txt', '_COM².txt'],
  ['AUX.', '_AUX'],
  ['prn', '_prn'],
  ['CONIN$', '_CONIN$'],
  ['console.mp4', 'console.mp4'],
  ['COM10.mp4', 'COM10.mp4'],
  ['icon.mp4', 'icon.mp4'],
  [`${'x'.repeat(300)}.mp4`, `${'x'.repeat(196)}.mp4`],
  ['x'.repeat(300), 'x'.repeat(200)],
  [`${'ש'.repeat(300)}.mp4`, `${'ש'.repeat(98)}.mp4`],
  [`a${'ש'.repeat(300)}.mp4`, `a${'ש'.repeat(97)}.mp4`],
  [`${'🎬'.repeat(100)}.mkv`, `${'🎬'.repeat(49)}.mkv`],
  [`${'x'.repeat(150)}${' '.repeat(100)}y.mp4`, `${'x'.repeat(150)}.mp4`],
  [`con${' '.repeat(250)}y.mp4`, '_con.mp4'],
  [`con${' '.repeat(193)}.mp4`, '_con.mp4'],
  [`a.${'x'.repeat(300)}`, `a.${'x'.repeat(198)}`],
  [`${'.'.repeat(300)}mp4`, '.mp4']
]

t.test('makes one file name of whatever a torrent brings', async t => {
  for (const [name, safe] of table) t.equal(safeFileName(name), safe, JSON.stringify(name.slice(0, 60)))
})

t.test('ten million characters are no slower than a thousand', async t => {
  const started = performance.now()
  for (const unit of ['x', '\u0301\u0323', '\u202e', '.', ' ', '../', '🎬']) {
    t.ok(Buffer.byteLength(safeFileName(unit.repeat(10_000_000 / unit.length) + '.mp4')) <= 200, JSON.stringify(unit))
  }
  t.ok(performance.now() - started < 5000)
})

t.test('a thousand names of hostile parts stay inside, are settled, and the file system takes them', async t => {
  const directory = t.testdir()
  const random = seeded(11)
  const parts = ['..', '.', '/', '\\', '\0', ' ', 'CON', 'nul', 'COM1', '.mp4', '.', ':', '\u202e', '\u0301', 'e', 'ש', '🎬', '\ud83c', '%2e%2e%2f', '#', '?', '~', '$', 'x'.repeat(90), '\u00a0', '\n', '-', 'K']
  for (let i = 0; i < 1000; i++) {
    const name = Array.from({ length: 1 + Math.floor(random() * 8) }, () => parts[Math.floor(random() * parts.length)]).join('')
    const safe = safeFileName(name)
    const label = JSON.stringify(name)
    t.equal(safeFileName(safe), safe, `settled: ${label}`)
    t.ok(safe !== '' && safe !== '.' && safe !== '..' && Buffer.byteLength(safe) <= 200 && safe.isWellFormed() && safe.normalize('NFC') === safe, label)
    t.equal(dirname(resolve(directory, safe)), directory, label)
    for (const path of [posix, win32]) t.equal(path.basename(safe), safe, label)
    // eslint-disable-next-line no-control-regex
    t.notMatch(safe, /[\0-\x1f/\\:*?"<>|]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d) *(\.|$)/i, label)
    await writeFile(join(directory, safe), '')
  }
  t.ok((await readdir(directory)).length > 100)
})

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

function torrentOf (...paths: string[]): Metadata {
  return parseMetadata(torrentOfFiles(paths.map(path => ({ path: path.split('|'), length: 10 })), { pieces: Buffer.alloc(20 * Math.ceil(paths.length * 10 / 16384)) }))
}

function namesOf (metadata: Metadata): string[] {
  return metadata.files.map(file => storedFileName(infohash, file, metadata))
}

t.test('a finished file is called by infohash and name', async t => {
  t.same(namesOf(torrentOf('movie.mp4', 'Subs|movie.srt', '../x', 'CON.mp4')),
    ['movie.mp4', 'movie.srt', '.._x', '_CON.mp4'].map(name => `${infohash}-${name}`))
})

t.test('names that would collide, on any file system, get their index', async t => {
  t.same(namesOf(torrentOf('S1|01.mkv', 'S2|01.MKV', 'S3|01.mkv', 'S3|02.mkv')),
    ['01 (0).mkv', '01 (1).MKV', '01 (2).mkv', '02.mkv'].map(name => `${infohash}-${name}`))
  t.same(namesOf(torrentOf('a?', 'a*', 'a_')), ['a_ (0)', 'a_ (1)', 'a_ (2)'].map(name => `${infohash}-${name}`))
  t.same(namesOf(torrentOf('é.mp4', 'E\u0301.mp4', '..', '')), ['é (0).mp4', 'É (1).mp4', 'unnamed (2)', 'unnamed (3)'].map(name => `${infohash}-${name}`))
  const long = 'x'.repeat(250)
  t.same(namesOf(torrentOf(`${long}1.mp4`, `${long}2.mp4`)), [0, 1].map(index => `${infohash}-${'x'.repeat(196)} (${index}).mp4`))
})

t.test('a name that another file has been given is given up, along the whole chain', async t => {
  t.same(namesOf(torrentOf('x|a.mp4', 'y|a.mp4', 'A (1).mp4', 'a (1) (2).mp4', 'b.mp4')),
    ['a (0).mp4', 'a (1).mp4', 'A (1) (2).mp4', 'a (1) (2) (3).mp4', 'b.mp4'].map(name => `${infohash}-${name}`))
})

t.test('no two of 50,000 names are the same, none is too long for a file system, and it does not take long', async t => {
  const random = seeded(5)
  const parts = ['a', 'A', 'ß', 'ss', ' (1)', ' (2)', ' (3)', '.mp4', '.MP4', '?', '*', '.', 'x'.repeat(250)]
  const metadata = torrentOf(...Array.from({ length: 50_000 }, () => Array.from({ length: 1 + Math.floor(random() * 5) }, () => parts[Math.floor(random() * parts.length)]).join('')))
  const started = performance.now()
  const names = namesOf(metadata)
  const [first] = metadata.files
  if (first === undefined) throw new Error('there is a first file')
  t.ok(performance.now() - started < 10_000)
  t.equal(new Set(names.map(name => name.toUpperCase().toLowerCase())).size, 50_000)
  t.ok(names.every(name => Buffer.byteLength(name) <= 255 && basename(name) === name))
  t.equal(names[0], storedFileName(infohash, first, metadata))
})
