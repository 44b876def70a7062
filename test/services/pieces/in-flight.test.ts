import t from 'tap'
import { Geometry } from '../../../services/pieces/geometry.ts'
import { InFlight } from '../../../services/pieces/in-flight.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'

const geometry = new Geometry({ lengthBytes: 100, pieceLength: 10, files: [] })
const piece = (index: number): PieceIndex => geometry.piece(index)

t.test('a piece that one filler fetches is taken for all others, until it is not fetched any more', async (t) => {
  const inFlight = new InFlight()
  const changes: string[] = []
  inFlight.on('change', (filler) => { changes.push(filler) })
  inFlight.set('p2p', [piece(1), piece(2)])
  t.equal(inFlight.isTaken(1, 'http-fallback'), true)
  t.equal(inFlight.isTaken(1, 'p2p'), false)
  t.equal(inFlight.isTaken(3, 'http-fallback'), false)
  t.equal(inFlight.isShared('http-fallback'), true)
  t.equal(inFlight.isShared('p2p'), false)
  inFlight.set('p2p', [piece(2), piece(1)])
  t.strictSame(changes, ['p2p'], 'the same again is no change')
  inFlight.set('p2p', [piece(2), piece(3)])
  inFlight.set('p2p', [])
  inFlight.set('p2p', [])
  t.strictSame(changes, ['p2p', 'p2p', 'p2p'])
  t.equal(inFlight.isTaken(2, 'http-fallback'), false)
  t.equal(inFlight.isShared('http-fallback'), false)
})
