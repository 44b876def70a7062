import t from 'tap'
import { selectFile } from '../../../services/torrent/file-selection.ts'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import { fixture, torrentOfFiles } from './oracles.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'

/** A torrent of files with these names and lengths. */
function torrentOf (...files: ReadonlyArray<readonly [path: string, length: number, attr?: string]>): Metadata {
  const pieces = Buffer.alloc(20 * Math.ceil(files.reduce((sum, [, length]) => sum + length, 0) / 16384))
  return parseMetadata(torrentOfFiles(files.map(([path, length, attr]) => ({ path: path.split('/'), length, attr })), { pieces }))
}

t.test('by default the largest video is chosen, whatever is larger', async t => {
  t.equal(selectFile(torrentOf(['a.zip', 9000], ['b.mp4', 100], ['c.MKV', 200], ['d.mp3', 5000], ['e.srt', 3]), null).name, 'c.MKV')
})

t.test('without a video the largest media file, else the largest file', async t => {
  t.equal(selectFile(torrentOf(['a.zip', 9000], ['b.mp3', 100], ['c.flac', 200]), null).name, 'c.flac')
  t.equal(selectFile(torrentOf(['a.txt', 5], ['b.iso', 100], ['c.bin', 7]), null).name, 'b.iso')
  t.equal(selectFile(parseMetadata(fixture('alice').torrent), null).name, 'alice.txt')
  t.equal(selectFile(parseMetadata(fixture('sintel').torrent), null).index, 0)
})

t.test('of equally large ones the first', async t => {
  t.equal(selectFile(torrentOf(['a.txt', 5], ['b.mp4', 100], ['c.mp4', 100]), null).index, 1)
})

t.test('padding is never chosen, an empty video only where everything is empty', async t => {
  t.equal(selectFile(torrentOf(['.pad/9000.mp4', 9000], ['b.bin', 10], ['c.mp4', 9000, 'p']), null).name, 'b.bin')
  t.equal(selectFile(torrentOf(['link.mp4', 0, 'l'], ['b.mp3', 10]), null).name, 'b.mp3')
  t.equal(selectFile(torrentOf(['empty.mp4', 0], ['.pad/1', 10]), null).name, 'empty.mp4')
  t.throws(() => torrentOf(['.pad/1', 10]), { code: 'METADATA_INVALID', message: /nothing but padding/ })
})

t.test('an index is the torrent\'s own order, padding counted', async t => {
  const torrent = torrentOf(['a.srt', 5], ['.pad/11', 11], ['b.mp4', 100], ['empty.txt', 0])
  t.equal(selectFile(torrent, 0).name, 'a.srt')
  t.equal(selectFile(torrent, 2).name, 'b.mp4')
  t.equal(selectFile(torrent, 3).name, 'empty.txt')
})

t.test('an index that is none says which there are', async t => {
  const eleven = torrentOf(...Array.from({ length: 11 }, (_, i) => [`${i}.mp4`, 10] as const))
  t.throws(() => selectFile(eleven, 12), { code: 'FILE_INDEX', message: 'fileIndex 12 is out of range: this torrent has files 0 to 10' })
  for (const index of [11, -1, 1.5, NaN, Infinity]) t.throws(() => selectFile(eleven, index), { code: 'FILE_INDEX' }, String(index))
  t.throws(() => selectFile(parseMetadata(fixture('alice').torrent), 1), { message: 'fileIndex 1 is out of range: this torrent has only file 0' })
  t.throws(() => selectFile(torrentOf(['a.mp4', 5], ['.pad/1', 1]), 1), { code: 'FILE_INDEX', message: 'fileIndex 1 is padding, not a file: this torrent has files 0 to 1' })
})
