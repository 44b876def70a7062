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
  inFlight.set('p2p', new Map([[piece(1), 1000], [piece(2), 2000]]))
  t.equal(inFlight.readyAt(2, 'http-fallback'), 2000)
  t.equal(inFlight.readyAt(2, 'p2p'), null)
  t.equal(inFlight.readyAt(3, 'http-fallback'), null)
  t.equal(inFlight.isShared('http-fallback'), true)
  t.equal(inFlight.isShared('p2p'), false)
  inFlight.set('p2p', new Map([[piece(2), 2500], [piece(1), 1500]]))
  t.strictSame(changes, ['p2p'], 'the same pieces again are no change')
  t.equal(inFlight.readyAt(2, 'http-fallback'), 2500)
  inFlight.set('p2p', new Map([[piece(2), 3000], [piece(3), 3000]]))
  inFlight.set('p2p', new Map())
  inFlight.set('p2p', new Map())
  t.strictSame(changes, ['p2p', 'p2p', 'p2p'])
  t.equal(inFlight.readyAt(2, 'http-fallback'), null)
  t.equal(inFlight.isShared('http-fallback'), false)
})
