import t from 'tap'
import type { FileSpan } from '../../../services/pieces/geometry.ts'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { makeTorrent, seededRandom } from './torrent.ts'

t.test('pieces and their lengths', async t => {
  const geometry = new Geometry(makeTorrent(100, [150, 0, 101]).metadata)
  t.equal(geometry.pieceCount, 3)
  t.same([0, 1, 2].map(index => geometry.lengthOf(geometry.piece(index))), [100, 100, 51])
  t.same([0, 1, 2].map(index => geometry.offsetOf(geometry.piece(index))), [0, 100, 200])
  t.same([0, 99, 100, 250].map(offset => geometry.pieceAt(offset)), [0, 0, 1, 2])
  t.same(geometry.piecesOf({ start: 99, end: 200 }), { first: 0, last: 2 })
  for (const index of [-1, 3, 1.5, NaN, Infinity]) t.throws(() => geometry.piece(index), RangeError, String(index))
  for (const offset of [-1, 300, NaN]) t.throws(() => geometry.pieceAt(offset), RangeError, String(offset))
})

t.test('files in the bytes of the torrent', async t => {
  const geometry = new Geometry(makeTorrent(100, [150, 0, 101]).metadata)
  t.same(geometry.rangeOfFile(0), { start: 0, end: 149 })
  t.equal(geometry.rangeOfFile(1), null)
  t.same(geometry.rangeOfFile(2), { start: 150, end: 250 })
  t.same(geometry.toTorrent(2, { start: 5, end: 9 }), { start: 155, end: 159 })
  t.same(geometry.spansOf(geometry.piece(1)), [
    { fileIndex: 0, fileOffset: 100, pieceOffset: 0, length: 50 },
    { fileIndex: 2, fileOffset: 0, pieceOffset: 50, length: 50 }
  ])
  t.same(geometry.spansIn({ start: 149, end: 150 }), [
    { fileIndex: 0, fileOffset: 149, pieceOffset: 0, length: 1 },
    { fileIndex: 2, fileOffset: 0, pieceOffset: 1, length: 1 }
  ])
  t.throws(() => geometry.rangeOfFile(3), RangeError)
  t.throws(() => geometry.rangeOfFile(-1), RangeError)
})

t.test('a torrent without a byte has no piece', async t => {
  const geometry = new Geometry(makeTorrent(100, [0, 0]).metadata)
  t.equal(geometry.pieceCount, 0)
  t.throws(() => geometry.piece(0), RangeError)
})

t.test('the spans of random torrents are their bytes, each once', async t => {
  const random = seededRandom(7)
  for (let round = 0; round < 200; round++) {
    const lengths = Array.from({ length: 1 + random(40) }, () => random(4) === 0 ? 0 : random(300))
    const torrent = makeTorrent(1 + random(200), lengths)
    const geometry = new Geometry(torrent.metadata)
    const joined = (spans: readonly FileSpan[]) => Buffer.concat(spans.map(span =>
      torrent.bytesOf(span.fileIndex).subarray(span.fileOffset, span.fileOffset + span.length)))
    for (let index = 0; index < geometry.pieceCount; index++) {
      const spans = geometry.spansOf(geometry.piece(index))
      if (!joined(spans).equals(torrent.pieceBytes(index))) t.fail(`round ${round} piece ${index}`)
      let position = 0
      for (const span of spans) {
        if (span.pieceOffset !== position || span.length < 1) t.fail(`round ${round} piece ${index} span at ${position}`)
        position += span.length
      }
      if (position !== geometry.lengthOf(geometry.piece(index))) t.fail(`round ${round} piece ${index} has ${position} bytes`)
    }
    for (let draw = 0; draw < 20 && torrent.content.length > 0; draw++) {
      const start = random(torrent.content.length)
      const end = start + random(torrent.content.length - start)
      if (!joined(geometry.spansIn({ start, end })).equals(torrent.content.subarray(start, end + 1))) t.fail(`round ${round} ${start}-${end}`)
    }
  }
  t.pass()
})
