import t from 'tap'
import { Alternatives, parseAlternatives } from '../../../services/stremio/alternatives.ts'
import type { StreamRequest } from '../../../services/source.ts'

const hash = (digit: string): string => digit.repeat(40)
const request = (digit: string, head: StreamRequest['head'] = { start: 0 }): StreamRequest => ({ infohash: hash(digit), fileIndex: 0, trackers: [], head })
const start = { isStart: true, ifRange: undefined }
const middle = { isStart: false, ifRange: undefined }
const { signal } = new AbortController()

function opening (dead: Set<string>, opened: string[] = []) {
  return {
    opened,
    options: {
      async open ({ infohash }: StreamRequest): Promise<string> {
        opened.push(infohash[0] ?? '')
        if (dead.has(infohash)) throw new Error(`${infohash[0]} is dead`)
        return infohash
      },
      isAllowed: async (infohash: string) => infohash !== hash('9'),
      turnMs: 10_000
    }
  }
}

t.test('what to try next is read from the address, three of it', async (t) => {
  t.same(parseAlternatives([`${hash('A')}:7`, hash('b'), 'x', `${hash('c')}:-1`, `${hash('c')}:x`, `${hash('d')}:0`, hash('e')]), [
    { infohash: hash('a'), fileIndex: 7 }, { infohash: hash('b'), fileIndex: null }, { infohash: hash('d'), fileIndex: 0 }
  ])
})

t.test('the next torrent is tried where the first does not start, and the player stays with it', async (t) => {
  const alternatives = new Alternatives()
  const dead = new Set([hash('1')])
  const { opened, options } = opening(dead)
  t.match(await alternatives.open([request('1'), request('9'), request('2'), request('3')], start, options, signal), { walked: hash('2'), wanted: { infohash: hash('2') } })
  t.same(opened, ['1', '2'], 'not one that this client may not play')
  dead.delete(hash('1'))
  t.match(await alternatives.open([request('1', { start: 500 }), request('9'), request('2'), request('3')], middle, options, signal), { walked: hash('2') }, 'the first is alive again, and yet')
  dead.add(hash('2'))
  await t.rejects(alternatives.open([request('1', { start: 500 }), request('9'), request('2'), request('3')], middle, options, signal), { message: '2 is dead' }, 'never after the first byte')
  t.match(await alternatives.open([request('1'), request('9'), request('2'), request('3')], start, options, signal), { walked: hash('1') }, 'from the beginning anything may play again')
})

t.test('a player in the middle of a film of which nothing is remembered gets that film, or none', async (t) => {
  const { options } = opening(new Set([hash('1')]))
  const candidates = [request('1', { start: 500 }), request('2', { start: 500 })] as const
  await t.rejects(new Alternatives().open([...candidates], middle, options, signal), { message: '1 is dead' })
  t.match(await new Alternatives().open([...candidates], { isStart: false, ifRange: `"${hash('2')}-0"` }, options, signal), { walked: hash('2') }, 'its ETag tells which')
})

t.test('a look at the headers decides nothing; who leaves ends it; one that hangs has its turn only', async (t) => {
  const alternatives = new Alternatives()
  const alive = opening(new Set())
  await alternatives.open([request('1', null), request('2', null)], start, alive.options, signal)
  const dead = opening(new Set([hash('1')]))
  t.match(await alternatives.open([request('1'), request('2')], start, dead.options, signal), { walked: hash('2') })

  const gone = new AbortController()
  const hanging = { ...alive.options, turnMs: 20, open: async ({ infohash }: StreamRequest, signal: AbortSignal) => infohash === hash('2') ? infohash : await new Promise<string>((_resolve, reject) => { signal.addEventListener('abort', () => { reject(signal.reason) }) }) }
  t.match(await new Alternatives().open([request('1'), request('2')], start, hanging, signal), { walked: hash('2') })
  const answer = new Alternatives().open([request('1'), request('2')], start, { ...hanging, turnMs: 10_000 }, gone.signal)
  gone.abort(new Error('gone'))
  await t.rejects(answer, { message: 'gone' })
})
