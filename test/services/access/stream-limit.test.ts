import t from 'tap'
import { StreamLimit } from '../../../services/access/stream-limit.ts'

const enter = (limit: StreamLimit, client: string | null): () => void => {
  const leave = limit.enter(client)
  if (typeof leave === 'string') throw new Error(leave)
  return leave
}

t.test('a client has so many places, and all together', async (t) => {
  const limit = new StreamLimit({ perClient: 2, inAll: 4 })
  const [first] = [enter(limit, 'a'), enter(limit, 'a')]
  t.equal(limit.enter('a'), 'client')
  enter(limit, 'b')
  enter(limit, null)
  t.equal(limit.open, 4)
  t.equal(limit.enter('c'), 'all')
  t.equal(limit.enter(null), 'all')
  first?.()
  enter(limit, 'a')
  t.equal(limit.enter('a'), 'all')
})

t.test('without limits everybody comes in', async (t) => {
  const limit = new StreamLimit({ perClient: null, inAll: null })
  const leaves = Array.from({ length: 1000 }, () => enter(limit, 'a'))
  for (const leave of leaves) leave()
  t.equal(limit.open, 0)
})
