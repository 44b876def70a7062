import { createHash } from 'node:crypto'
import t from 'tap'
import { CodedError } from '../../services/errors.ts'
import { NothingServes } from '../../services/source-walk.ts'
import { splice } from '../../services/splice.ts'
import { amount, seedOf, tellFigure } from '../soak.ts'
import { SimulatedClock } from './simulated-clock.ts'
import type { SourceFile } from '../../services/source.ts'
import type { Reopen, SpliceObserver } from '../../services/splice.ts'

const STALL_LIMIT_MS = 90_000
const SILENCE_MS = 12_000
const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7 + (i >> 8) * 13 + (i >> 16)) & 255))
const etag = '"film-0"'

interface Random {
  below (limit: number): number
}

/** Always the same numbers for a seed (mulberry32). */
function randomOf (seed: number): Random {
  let state = seed
  return {
    below (limit) {
      state = (state + 0x6d2b79f5) | 0
      let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
      mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
      return Math.floor(((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296 * limit)
    }
  }
}

/** What a source may do instead of delivering. */
const manners = ['honest', 'late', 'short', 'long', 'silent', 'throws', 'throws at once', 'drip', 'empty', 'no chunk', 'twice', 'deaf', 'receives only'] as const
type Manner = typeof manners[number]

function fileOf (manner: Manner, random: Random, clock: SimulatedClock, more: Partial<SourceFile> = {}): SourceFile {
  let received = 0
  const chunkBytes = 500 + random.below(40_000)
  const gives = random.below(80_000)
  const lateMs = random.below(30_000)
  return {
    source: manner,
    name: 'film.mp4',
    lengthBytes: content.length,
    etag,
    lastModified: null,
    isVerified: true,
    isLocal: false,
    progress: () => {
      if (manner === 'receives only') received += 20_000
      return received
    },
    read ({ start, end }, signal) {
      if (manner === 'throws at once') throw new Error('cannot even begin')
      if (manner === 'deaf') return { [Symbol.asyncIterator]: () => ({ next: async () => await new Promise(() => {}), return: async () => await new Promise(() => {}) }) }
      if (manner === 'no chunk') return { [Symbol.asyncIterator]: () => ({ next: async () => ({ done: false, value: undefined as unknown as Uint8Array }) }) }
      if (manner === 'twice') return twice(start, end, chunkBytes)
      return chunks(start, end, signal)
    },
    ...more
  }

  async function * chunks (start: number, end: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const until = manner === 'short' || manner === 'throws' || manner === 'silent' || manner === 'receives only' ? Math.min(end + 1, start + gives) : end + 1
    for (let at = start; at < until; at += manner === 'drip' ? 1 : chunkBytes) {
      if (manner === 'late') await clock.pause(lateMs)
      if (manner === 'drip') await clock.pause(1000)
      if (manner === 'empty') {
        yield new Uint8Array(0)
        continue
      }
      // What comes after an abort must not get through.
      if (signal.aborted && random.below(2) === 0) yield Buffer.from('late and wrong')
      const last = manner === 'drip' ? at + 1 : at + chunkBytes
      const chunk = content.subarray(at, Math.min(last, until))
      received += chunk.length
      yield chunk
    }
    if (manner === 'long') yield content.subarray(0, 5000)
    if (manner === 'throws') throw new CodedError('STALLED', 'it broke')
    if (manner === 'silent' || manner === 'receives only') await new Promise(() => {})
  }
}

/** Answers as an iterator may not: the next chunk is there before it was asked for, and asking once more gives the same promise. */
function twice (start: number, end: number, chunkBytes: number): AsyncIterable<Uint8Array> {
  let at = start
  return {
    [Symbol.asyncIterator]: () => ({
      async next () {
        if (at > end) return { done: true, value: undefined }
        const value = content.subarray(at, Math.min(at + chunkBytes, end + 1))
        at += value.length
        const { promise, resolve } = Promise.withResolvers<IteratorResult<Uint8Array>>()
        resolve({ done: false, value })
        resolve({ done: false, value: Buffer.from('wrong') })
        return await promise
      },
      async return () { throw new Error('it cannot end either') }
    })
  }
}

interface Told {
  readonly observer: SpliceObserver
  readonly positions: number[]
  readonly delivered: () => number
}

function listen (): Told {
  const positions: number[] = []
  let delivered = 0
  return {
    positions,
    delivered: () => delivered,
    observer: {
      engaged (_source, position) { positions.push(position) },
      lost (_source, position) { positions.push(position) },
      waiting () {},
      waited () {},
      delivered (bytes) { delivered += bytes }
    }
  }
}

interface Outcome {
  readonly bytes: Buffer
  readonly error: unknown
  readonly elapsedMs: number
  readonly told: Told
  /** The most simulated milliseconds between two chunks. */
  readonly longestWaitMs: number
}

/** One response over simulated time. The client takes its time, too: up to `clientMs` for a chunk. */
async function respond (clock: SimulatedClock, first: SourceFile, reopen: (want: Reopen, signal: AbortSignal) => Promise<SourceFile>, { start = 0, end = content.length - 1, clientMs = (): number => 0, leaveAfter = Infinity } = {}): Promise<Outcome> {
  const told = listen()
  const client = new AbortController()
  const chunks: Uint8Array[] = []
  const since = clock.now()
  let longestWaitMs = 0
  let error: unknown = null
  await clock.run((async () => {
    try {
      let asked = clock.now()
      let received = 0
      const options = {
        file: first,
        by: first.source,
        range: { start, end },
        silenceMs: SILENCE_MS,
        stallLimitMs: STALL_LIMIT_MS,
        clock,
        observer: told.observer,
        reopen: async (want: Reopen, signal: AbortSignal) => {
          const file = await reopen(want, signal)
          return { file, by: file.source }
        }
      }
      for await (const chunk of splice(options, client.signal)) {
        longestWaitMs = Math.max(longestWaitMs, clock.now() - asked)
        chunks.push(Buffer.from(chunk))
        received += chunk.length
        if (received >= leaveAfter) client.abort(new Error('the client left'))
        await clock.pause(clientMs())
        asked = clock.now()
      }
    } catch (caught) {
      error = caught
    }
  })())
  return { bytes: Buffer.concat(chunks), error, elapsedMs: clock.now() - since, told, longestWaitMs }
}

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

t.test('whatever sources do, a response has the exact bytes or is cut: never a byte lost, doubled or wrong', { timeout: 120_000 }, async (t) => {
  const cases = amount('SOAK_SPLICES', 2000)
  const random = randomOf(seedOf(t))
  const met = new Set<Manner>()
  const failures: string[] = []
  let [whole, cut, left, changes] = [0, 0, 0, 0]
  for (let i = 0; i < cases; i++) {
    const clock = new SimulatedClock()
    const pick = (): Manner => {
      const manner = manners[random.below(manners.length)] ?? 'honest'
      met.add(manner)
      return manner
    }
    const hopeful = random.below(3) > 0
    let opened = 0
    const reopen = async (want: Reopen): Promise<SourceFile> => {
      const what = random.below(8)
      if (what === 0) await clock.pause(random.below(40_000))
      if (what === 1) throw new NothingServes([{ source: 'p2p', code: 'P2P_TIMEOUT', message: 'nobody', isTemporary: true }])
      if (what === 2) return fileOf('honest', random, clock, { etag: '"other-0"', read: () => (async function * () { yield Buffer.alloc(1000, 'x') })() })
      if (what === 3) return fileOf('honest', random, clock, { isVerified: false, read: () => (async function * () { yield Buffer.alloc(1000, 'x') })() })
      if (what === 4 && random.below(4) === 0) return await new Promise(() => {})
      if (want.position >= content.length) throw new Error('asked for what is behind the end')
      return fileOf(hopeful && opened++ > 6 ? 'honest' : pick(), random, clock)
    }
    const start = random.below(content.length)
    const end = start + random.below(content.length - start)
    const leaveAfter = random.below(10) === 0 ? random.below(end - start + 1) : Infinity
    const slow = random.below(4) === 0
    const { bytes, error, told } = await respond(clock, fileOf(pick(), random, clock), reopen, {
      start, end, leaveAfter, clientMs: () => slow ? random.below(200_000) : 0
    })
    const isRight = sha1(bytes) === sha1(content.subarray(start, start + bytes.length)) && bytes.length <= end - start + 1
    const isWhole = bytes.length === end - start + 1
    if (!isRight || told.delivered() !== bytes.length) failures.push(`${i}: wrong bytes`)
    if (error === null && !isWhole) failures.push(`${i}: ended early without an error`)
    if (error !== null && isWhole && leaveAfter === Infinity) failures.push(`${i}: an error after the last byte: ${String(error)}`)
    if (told.positions.some((position, at) => position < start || position > end + 1 || position < (told.positions[at - 1] ?? 0))) failures.push(`${i}: positions ${told.positions.join()}`)
    if (clock.size > 200) failures.push(`${i}: ${clock.size} timers left`)
    changes += told.positions.length
    if (isWhole) whole++
    else if (leaveAfter < Infinity) left++
    else cut++
  }
  t.strictSame(failures.slice(0, 5), [])
  t.strictSame([...met].sort(), [...manners].sort(), 'every kind of source was met')
  t.ok(whole > cases / 4 && cut > 0 && left > 0, `${whole} whole, ${cut} cut, ${left} left, ${changes} changes of source`)
  tellFigure(t, 'spliced responses', `${cases}: ${whole} whole, ${cut} cut, ${left} left by the client; ${changes} changes of source`)
})

t.test('a source that falls silent is replaced after the silence, however it promises to go on', async (t) => {
  const clock = new SimulatedClock()
  const random = randomOf(1)
  const { bytes, longestWaitMs } = await respond(clock, fileOf('deaf', random, clock), async () => fileOf('honest', random, clock))
  t.equal(sha1(bytes), sha1(content))
  t.equal(longestWaitMs, SILENCE_MS)
})

t.test('a source that receives what it cannot hand out yet is waited for: a large piece is no silence', async (t) => {
  const clock = new SimulatedClock()
  const random = randomOf(1)
  let received = 0
  const slow = fileOf('honest', random, clock, {
    source: 'p2p',
    progress: () => {
      received += 100_000
      return received
    },
    read: (range) => (async function * () {
      await clock.pause(80_000)
      yield content.subarray(range.start, range.end + 1)
    })()
  })
  const { bytes, told } = await respond(clock, slow, async () => { throw new Error('nobody else needs to be asked') })
  t.equal(sha1(bytes), sha1(content))
  t.strictSame(told.positions, [0])
})

t.test('a client that takes its time is no stall', async (t) => {
  const clock = new SimulatedClock()
  const random = randomOf(2)
  const { bytes, error, elapsedMs } = await respond(clock, fileOf('honest', random, clock), async () => { throw new Error('nobody else') }, { clientMs: () => 10 * STALL_LIMIT_MS })
  t.equal(error, null)
  t.equal(sha1(bytes), sha1(content))
  t.ok(elapsedMs > 10 * STALL_LIMIT_MS)
})

t.test('with every source silent the response is kept for the stall limit, and each is asked again with growing pauses', async (t) => {
  const clock = new SimulatedClock()
  const random = randomOf(3)
  const asked: number[] = []
  const { error, elapsedMs } = await respond(clock, fileOf('throws at once', random, clock), async () => {
    asked.push(clock.now())
    throw new NothingServes([{ source: 'p2p', code: 'P2P_TIMEOUT', message: 'all peers left', isTemporary: true }])
  })
  t.match(error, { code: 'STALLED', message: /90000 ms \(p2p: all peers left\)/ })
  t.ok(elapsedMs > STALL_LIMIT_MS - 5001 && elapsedMs <= STALL_LIMIT_MS, `${elapsedMs} ms`)
  const pauses = asked.slice(1).map((at, i) => at - (asked[i] ?? 0))
  t.strictSame(pauses.slice(0, 6), [250, 500, 1000, 2000, 4000, 5000])
  t.ok(pauses.slice(5).every((ms) => ms === 5000))
})

t.test('each further loss goes on where the client is, not where the last one did plus that', async (t) => {
  const clock = new SimulatedClock()
  const random = randomOf(4)
  const positions: number[] = []
  const breaksAfter = (bytes: number): SourceFile => fileOf('honest', random, clock, {
    read: ({ start, end }) => (async function * () {
      yield content.subarray(start, Math.min(start + bytes, end + 1))
      throw new Error('lost')
    })()
  })
  const { bytes } = await respond(clock, breaksAfter(20_000), async (want) => {
    positions.push(want.position)
    return breaksAfter(50_000)
  }, { start: 1000 })
  t.equal(sha1(bytes), sha1(content.subarray(1000)))
  t.strictSame(positions, [21_000, 71_000, 121_000, 171_000, 221_000, 271_000])
})
