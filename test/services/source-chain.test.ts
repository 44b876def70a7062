import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { CodedError } from '../../services/errors.ts'
import { silent } from '../../services/log.ts'
import { EventBus } from '../../services/events.ts'
import { SourceChain } from '../../services/source-chain.ts'
import { NothingServes } from '../../services/source-walk.ts'
import { StreamHistory } from '../../services/stream-history.ts'
import type { ServerEvent } from '../../services/events.ts'
import type { ChainOptions } from '../../services/source-chain.ts'
import type { Source, SourceFile, StreamRequest } from '../../services/source.ts'

const content = randomBytes(100_000)
const request: StreamRequest = { infohash: 'a'.repeat(40), fileIndex: null, trackers: [], head: { start: 0 } }
const never = new AbortController().signal

function chainOf (options: Partial<ChainOptions>, ...sources: Source[]): SourceChain {
  const chain = new SourceChain({ hedgeDelayMs: 0, startTimeoutMs: 5000, lingerMs: 1000, silenceMs: 5000, responseStallLimitMs: 1000, history: new StreamHistory(new EventBus(silent)), log: silent, ...options })
  for (const source of sources) chain.add(source)
  return chain
}

/** A file whose reads break after so many bytes in all, or never. */
function fileOf (source: string, { breaksAfter = Infinity, etag = '"x-0"', isVerified = true } = {}): SourceFile {
  return {
    source,
    name: 'film.mp4',
    lengthBytes: content.length,
    etag,
    lastModified: null,
    isVerified,
    isLocal: false,
    async * read ({ start, end }) {
      for (let at = start; at <= end; at += 1000) {
        if (at - start >= breaksAfter) throw new CodedError('STALLED', `${source} went silent`)
        yield content.subarray(at, Math.min(at + 1000, end + 1))
      }
    }
  }
}

function sourceOf (name: string, priority: number, open: Source['open'], more: Partial<Source> = {}): Source {
  return { name, priority, open, ...more }
}

async function bytesOf (file: SourceFile, start = 0, end = content.length - 1): Promise<Buffer> {
  const chunks = []
  for await (const chunk of file.read({ start, end }, never)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex')

t.test('the source with the lowest number answers, though it was added last', async (t) => {
  const chain = chainOf({}, sourceOf('second', 20, async () => fileOf('second')), sourceOf('first', 10, async () => fileOf('first')))
  const { file, timings } = await chain.open(request, never)
  t.equal(file.source, 'first')
  t.same(timings.map(({ source }) => source), ['first'])
  t.same(chain.names, ['first', 'second'])
})

t.test('two sources of one name or priority are a mistake that is said at once', async (t) => {
  const chain = chainOf({}, sourceOf('cache', 10, async () => null))
  t.throws(() => { chain.add(sourceOf('cache', 20, async () => null)) }, /clashes/)
  t.throws(() => { chain.add(sourceOf('mock', 10, async () => null)) }, /clashes/)
})

t.test('a miss or a failure passes the request on, and every reason is told when nobody serves', async (t) => {
  const chain = chainOf({},
    sourceOf('cache', 10, async () => null),
    sourceOf('p2p', 20, async () => { throw new CodedError('P2P_TIMEOUT', 'no peer') }),
    sourceOf('http', 30, async () => { throw new Error('boom') })
  )
  const error = await chain.open(request, never).catch((error: unknown) => error)
  t.same(error instanceof NothingServes && error.refusals, [
    { source: 'p2p', code: 'P2P_TIMEOUT', message: 'no peer', isTemporary: true, retryInMs: 15_000 },
    { source: 'http', code: 'SOURCE_FAILED', message: 'boom', isTemporary: true, retryInMs: 15_000 }
  ])
})

t.test('a source that knows the request to be impossible ends the walk: nobody else is asked', async (t) => {
  let isAsked = false
  const chain = chainOf({},
    sourceOf('mock', 10, async () => { throw new CodedError('FILE_INDEX', 'one file only') }),
    sourceOf('p2p', 20, async () => { isAsked = true; return null })
  )
  await t.rejects(chain.open(request, never), NothingServes)
  t.equal(isAsked, false)
})

t.test('with a hedge delay the next source starts beside a slow one, and the loser is aborted', async (t) => {
  let isAborted = false
  const chain = chainOf({ hedgeDelayMs: 20 },
    sourceOf('slow', 10, async (_request, signal) => {
      signal.addEventListener('abort', () => { isAborted = true })
      return await new Promise(() => {})
    }),
    sourceOf('quick', 20, async () => fileOf('quick'))
  )
  t.equal((await chain.open(request, never)).file.source, 'quick')
  t.equal(isAborted, true)
})

t.test('without a hedge delay a slow source keeps its place until its turn is over', async (t) => {
  const chain = chainOf({},
    sourceOf('slow', 10, async () => { await wait(60); return fileOf('slow') }),
    sourceOf('quick', 20, async () => fileOf('quick'))
  )
  t.equal((await chain.open(request, never)).file.source, 'slow')
  const turned = chainOf({},
    sourceOf('slow', 10, async () => await new Promise(() => {}), { turnMs: 30 }),
    sourceOf('quick', 20, async () => fileOf('quick'))
  )
  t.equal((await turned.open(request, never)).file.source, 'quick')
})

t.test('a source whose turn is over may still win while the later ones fail', async (t) => {
  const chain = chainOf({},
    sourceOf('p2p', 10, async () => { await wait(80); return fileOf('p2p') }, { turnMs: 20 }),
    sourceOf('http', 20, async () => { throw new CodedError('HTTP_NO_MIRROR', 'none') })
  )
  t.equal((await chain.open(request, never)).file.source, 'p2p')
})

t.test('sources that never answer end at START_TIMEOUT, each with its last words or ours', async (t) => {
  const chain = chainOf({ startTimeoutMs: 50, hedgeDelayMs: 10 },
    sourceOf('deaf', 10, async () => await new Promise(() => {})),
    sourceOf('polite', 20, async (_request, signal) => await new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => { reject(new CodedError('P2P_TIMEOUT', 'three peers, no data')) })
    }))
  )
  const error = await chain.open(request, never).catch((error: unknown) => error)
  t.same(error instanceof NothingServes && error.refusals.map(({ source, code }) => [source, code]), [['deaf', 'SOURCE_TIMEOUT'], ['polite', 'P2P_TIMEOUT']])
})

t.test('a retry joins the start that its predecessor left behind', async (t) => {
  let opened = 0
  const chain = chainOf({}, sourceOf('p2p', 10, async () => { opened++; await wait(150); return fileOf('p2p') }))
  for (let i = 0; i < 2; i++) {
    await t.rejects(chain.open(request, AbortSignal.timeout(40)), { name: 'TimeoutError' })
  }
  t.equal((await chain.open(request, never)).file.source, 'p2p')
  t.equal(opened, 1)
})

t.test('a start that nobody comes back to is aborted after the linger time', async (t) => {
  const { promise, resolve } = Promise.withResolvers<unknown>()
  const chain = chainOf({ lingerMs: 30 }, sourceOf('p2p', 10, async (_request, signal) => {
    signal.addEventListener('abort', () => { resolve(signal.reason) })
    return await new Promise(() => {})
  }))
  await t.rejects(chain.open(request, AbortSignal.timeout(10)))
  await promise
})

t.test('of the places that a player left behind only the last one lingers', async (t) => {
  const aborted: unknown[] = []
  const chain = chainOf({}, sourceOf('p2p', 10, async (request, signal) => await new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { aborted.push(request.head); reject(signal.reason) })
  })))
  for (const start of [0, 1000, 2000]) await t.rejects(chain.open({ ...request, head: { start } }, AbortSignal.timeout(10)))
  t.same(aborted, [{ start: 0 }, { start: 1000 }])
  chain.close()
})

t.test('starts that nobody waits for make way for others: only the latest few linger', async (t) => {
  const aborted: string[] = []
  const chain = chainOf({ maxLingering: 2 }, sourceOf('p2p', 10, async ({ infohash }, signal) => await new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => { aborted.push(infohash); reject(signal.reason) })
  })))
  const waiting = new AbortController()
  for (const infohash of ['a', 'b', 'c', 'd']) {
    await t.rejects(chain.open({ ...request, infohash }, AbortSignal.timeout(10)))
    // Somebody has come back to this one, so it lingers no more.
    if (infohash === 'a') chain.open({ ...request, infohash }, waiting.signal).catch(() => {})
  }
  t.same(aborted, ['b'])
  waiting.abort()
  await wait(0)
  t.same(aborted, ['b', 'c'])
  chain.close()
})

t.test('the source that delivered a moment ago is not held up by the ones before it', async (t) => {
  let isSwarmDead = false
  const chain = chainOf({ hedgeDelayMs: 10_000 },
    sourceOf('p2p', 10, async () => {
      if (isSwarmDead) return await new Promise(() => {})
      isSwarmDead = true
      throw new CodedError('P2P_TIMEOUT', 'no peer')
    }, { turnMs: 10_000 }),
    sourceOf('http', 20, async () => fileOf('http'))
  )
  await chain.open(request, never)
  const startedAt = performance.now()
  t.equal((await chain.open(request, never)).file.source, 'http')
  t.ok(performance.now() - startedAt < 5000)
})

t.test('a response goes on from the next source at the exact byte, as often as sources die', async (t) => {
  for (const breaksAfter of [0, 1000, 33_000, 99_000]) {
    const chain = chainOf({},
      sourceOf('p2p', 10, async () => fileOf('p2p', { breaksAfter })),
      sourceOf('http', 20, async () => fileOf('http', { breaksAfter: 20_000 }))
    )
    const { file } = await chain.open(request, never)
    const bytes = breaksAfter === 0 ? await bytesOf(file, 500, 15_000) : await bytesOf(file)
    t.equal(sha1(bytes), sha1(breaksAfter === 0 ? content.subarray(500, 15_001) : content))
  }
})

t.test('other bytes are never spliced: not unverified ones, and not those of another file', async (t) => {
  for (const other of [fileOf('http', { etag: '"y-0"' }), fileOf('http', { isVerified: false }), { ...fileOf('http'), lengthBytes: 99_999 }]) {
    let opened = 0
    const chain = chainOf({ responseStallLimitMs: 300 },
      sourceOf('p2p', 10, async () => opened++ === 0 ? fileOf('p2p', { breaksAfter: 5000 }) : null),
      sourceOf('http', 20, async () => other)
    )
    const { file } = await chain.open(request, never)
    await t.rejects(bytesOf(file), { code: 'STALLED' })
  }
})

t.test('an unverified file that breaks is not continued at all', async (t) => {
  const chain = chainOf({},
    sourceOf('cache', 10, async () => fileOf('cache', { isVerified: false, breaksAfter: 5000 })),
    sourceOf('http', 20, async () => fileOf('http'))
  )
  await t.rejects(bytesOf((await chain.open(request, never)).file), { code: 'STALLED', message: 'cache went silent' })
})

t.test('with no source left a response ends after the stall limit, and says what each source said', async (t) => {
  let opened = 0
  const chain = chainOf({ responseStallLimitMs: 400 }, sourceOf('p2p', 10, async () => {
    if (opened++ === 0) return fileOf('p2p', { breaksAfter: 5000 })
    throw new CodedError('P2P_TIMEOUT', 'all peers left')
  }))
  const { file } = await chain.open(request, never)
  await t.rejects(bytesOf(file), { code: 'STALLED', message: /400 ms \(p2p: all peers left\)/ })
  t.ok(opened > 2, `it was asked again: ${opened}`)
})

t.test('a source that gives more than was asked is cut, and one that ends early is replaced', async (t) => {
  const generous = { ...fileOf('p2p'), async * read () { yield content } }
  const { file } = await chainOf({}, sourceOf('p2p', 10, async () => generous)).open(request, never)
  t.equal((await bytesOf(file, 0, 9)).length, 10)

  const short = { ...fileOf('p2p'), async * read () { yield content.subarray(0, 10) } }
  const chain = chainOf({}, sourceOf('p2p', 10, async () => short), sourceOf('http', 20, async () => fileOf('http')))
  t.equal(sha1(await bytesOf((await chain.open(request, never)).file)), sha1(content))
})

t.test('closing ends starts and reads with SHUTTING_DOWN', async (t) => {
  const endless = { ...fileOf('p2p'), async * read (_range: unknown, signal: AbortSignal) { yield content.subarray(0, 1); await wait(60_000, undefined, { signal }) } }
  const chain = chainOf({}, sourceOf('p2p', 10, async (request) => request.head === null ? await new Promise(() => {}) : endless))
  const { file } = await chain.open(request, never)
  const reading = bytesOf(file)
  const starting = chain.open({ ...request, head: null }, never)
  chain.close()
  await t.rejects(reading, { code: 'SHUTTING_DOWN' })
  await t.rejects(starting, { code: 'SHUTTING_DOWN' })
  await t.rejects(chain.open(request, never), { code: 'SHUTTING_DOWN' })
})

t.test('a source that knows itself to be hopeless lets the next one begin at once, unless the order is strict', async (t) => {
  const hopeless: Source['open'] = async (_request, _signal, { hopeless }) => {
    hopeless()
    await wait(200)
    return fileOf('p2p')
  }
  const hedged = chainOf({ hedgeDelayMs: 60_000 }, sourceOf('p2p', 10, hopeless), sourceOf('http', 20, async () => fileOf('http')))
  t.equal((await hedged.open(request, never)).file.source, 'http')
  const strict = chainOf({}, sourceOf('p2p', 10, hopeless), sourceOf('http', 20, async () => fileOf('http')))
  t.equal((await strict.open(request, never)).file.source, 'p2p')
})

t.test('while one source is at work, one that has failed beside it makes way for the next at once', async (t) => {
  const chain = chainOf({},
    sourceOf('p2p', 10, async () => await new Promise(() => {}), { turnMs: 20 }),
    sourceOf('http', 20, async () => { throw new CodedError('HTTP_NO_MIRROR', 'none') }),
    sourceOf('kept', 30, async () => fileOf('kept'))
  )
  t.equal((await chain.open(request, never)).file.source, 'kept')
})

t.test('what failed is not asked again at once: the second request has its answer, until there is news or somebody asks anew', async (t) => {
  let asked = 0
  let isHopeful = false
  const chain = chainOf({}, sourceOf('p2p', 10, async () => { asked++; throw new CodedError('P2P_TIMEOUT', 'no peer') }, { isHopeful: () => isHopeful }))
  for (let i = 0; i < 3; i++) await t.rejects(chain.open(request, never), NothingServes)
  t.equal(asked, 1)
  t.match(chain.resting(request.infohash), [{ source: 'p2p', code: 'P2P_TIMEOUT' }])
  await t.rejects(chain.open({ ...request, trackers: ['udp://tracker.example:1'] }, never))
  t.equal(asked, 2, 'with other trackers it is another question')
  t.match(chain.resting(request.infohash), [{ source: 'p2p', code: 'P2P_TIMEOUT' }])
  isHopeful = true
  t.strictSame(chain.resting(request.infohash), [])
  await t.rejects(chain.open(request, never))
  t.equal(asked, 3)
  isHopeful = false
  chain.forgetFailures(request.infohash)
  await t.rejects(chain.open(request, never))
  t.equal(asked, 4)
})

t.test('what is said to rest is what was asked last, with its trackers', async (t) => {
  const chain = chainOf({}, sourceOf('p2p', 10, async () => { throw new CodedError('P2P_TIMEOUT', 'no peer') }))
  await t.rejects(chain.open({ ...request, trackers: ['udp://tracker.example:1'] }, never))
  t.match(chain.resting(request.infohash), [{ source: 'p2p', retryInMs: Number }])
  t.strictSame(chain.resting('b'.repeat(40)), [])
})

t.test('the losers of a start that was won are not remembered as failures', async (t) => {
  let asked = 0
  const chain = chainOf({ hedgeDelayMs: 10 },
    sourceOf('p2p', 10, async (_request, signal) => await new Promise((_resolve, reject) => {
      asked++
      signal.addEventListener('abort', () => { reject(signal.reason) })
    })),
    sourceOf('http', 20, async () => fileOf('http'))
  )
  for (let i = 0; i < 3; i++) t.equal((await chain.open({ ...request, head: { start: i } }, never)).file.source, 'http')
  t.equal(asked, 3)
})

t.test('START_TIMEOUT counts from the first start for the infohash that is still under way, for whatever place', async (t) => {
  const chain = chainOf({ startTimeoutMs: 400 }, sourceOf('p2p', 10, async () => await new Promise(() => {})))
  const first = chain.open(request, never).catch((error: unknown) => error)
  await wait(250)
  const startedAt = performance.now()
  const second = chain.open({ ...request, head: { start: 5 } }, never).catch((error: unknown) => error)
  t.ok(await first instanceof NothingServes)
  t.ok(await second instanceof NothingServes)
  // The second one had 400 ms of its own otherwise, and 200 ms for last words.
  t.ok(performance.now() - startedAt < 550)
})

t.test('a start that failed leaves a new one its time, however closely the requests follow each other', async (t) => {
  let isHere = false
  const chain = chainOf({ startTimeoutMs: 300 }, sourceOf('p2p', 10, async () => {
    if (!isHere) return await new Promise(() => {})
    await wait(50)
    return fileOf('p2p')
  }, { isHopeful: () => true }))
  const first = chain.open(request, never).catch((error: unknown) => error)
  await wait(320)
  // The first one waits for last words: it is still under way.
  isHere = true
  t.equal((await chain.open({ ...request, head: { start: 1 } }, never)).file.source, 'p2p')
  t.ok(await first instanceof NothingServes)
})

t.test('what fails on this machine is looked at by every request: it may work at any time, and asking costs nothing', async (t) => {
  let isReadable = false
  const chain = chainOf({}, sourceOf('cache', 10, async () => {
    if (!isReadable) throw new CodedError('SOURCE_FAILED', 'the cached file cannot be read (EACCES)')
    return fileOf('cache')
  }, { isLocal: true }))
  for (let i = 0; i < 10; i++) await t.rejects(chain.open({ ...request, infohash: String(i) }, never), NothingServes)
  isReadable = true
  t.equal((await chain.open({ ...request, infohash: '0' }, never)).file.source, 'cache')
})

t.test('a response that began from the cache and goes on from a slow source gets help like any other', { timeout: 20_000 }, async (t) => {
  const { promise: helped, resolve } = Promise.withResolvers<string>()
  const slow: SourceFile = {
    ...fileOf('p2p'),
    ahead: () => 0,
    async * read ({ start }, signal) {
      for (let at = start; at < content.length; at += 20_000) {
        yield content.subarray(at, at + 20_000)
        await Promise.race([helped, wait(1000, undefined, { signal }).catch(() => {})])
      }
    }
  }
  const chain = chainOf({ hedgeDelayMs: 10_000, responseStallLimitMs: 10_000 },
    sourceOf('cache', 10, async () => ({ ...fileOf('cache', { breaksAfter: 5000 }), isLocal: true })),
    sourceOf('p2p', 20, async () => slow),
    sourceOf('http', 30, async () => ({ ...fileOf('http'), help: () => ({ source: 'http', moveTo: () => { resolve('http') }, release: () => {} }) }))
  )
  t.equal(sha1(await bytesOf((await chain.open(request, never)).file)), sha1(content))
  t.equal(await Promise.race([helped, wait(0, 'nobody')]), 'http')
})

t.test('a file with other bytes does not keep a later source from going on', async (t) => {
  let isPlaced = false
  const chain = chainOf({},
    sourceOf('cache', 10, async () => isPlaced ? fileOf('cache', { isVerified: false, etag: '"placed"' }) : null),
    sourceOf('p2p', 20, async () => {
      if (isPlaced) throw new CodedError('P2P_TIMEOUT', 'all peers left')
      isPlaced = true
      return fileOf('p2p', { breaksAfter: 5000 })
    }),
    sourceOf('http', 30, async () => fileOf('http'))
  )
  t.equal(sha1(await bytesOf((await chain.open(request, never)).file)), sha1(content))
})

t.test('the history tells which source served which bytes, and why it changed', async (t) => {
  const events: ServerEvent[] = []
  const bus = new EventBus(silent)
  bus.listen(() => { throw new Error('a listener that is broken harms nobody') })
  const stop = bus.listen((event) => { events.push(event) })
  const history = new StreamHistory(bus)
  const chain = chainOf({ history },
    sourceOf('p2p', 10, async (request) => request.head !== null && 'start' in request.head && request.head.start > 0 ? null : fileOf('p2p', { breaksAfter: 33_000 })),
    sourceOf('http', 20, async () => fileOf('http'))
  )
  await bytesOf((await chain.open(request, never)).file, 0, 89_999)
  const { running, last, start } = history.of(request.infohash)
  t.strictSame(running, [])
  t.match(start, { source: 'p2p', refusals: [] })
  t.match(last, {
    outcome: 'complete',
    deliveredBytes: 90_000,
    changes: 1,
    segments: [
      { source: 'p2p', fromByte: 0, toByte: 33_000, why: { code: 'STALLED', message: 'p2p went silent' } },
      { source: 'http', fromByte: 33_000, toByte: 90_000, why: null }
    ]
  })
  t.strictSame(events.map(({ type }) => type), ['start', 'started', 'source', 'lost', 'source', 'end'])
  stop()
  await bytesOf((await chain.open(request, never)).file, 0, 9)
  t.equal(events.length, 6)
})

t.test('while one source is at work in vain, another that comes back is found', async (t) => {
  let opened = 0
  let asked = 0
  const chain = chainOf({ responseStallLimitMs: 10_000 },
    sourceOf('p2p', 10, async () => opened++ === 0 ? fileOf('p2p', { breaksAfter: 5000 }) : await new Promise(() => {})),
    sourceOf('http', 20, async () => {
      if (++asked < 3) throw new CodedError('HTTP_MIRRORS_FAILED', 'the mirror is away')
      return fileOf('http')
    })
  )
  const startedAt = performance.now()
  t.equal(sha1(await bytesOf((await chain.open(request, never)).file)), sha1(content))
  t.ok(performance.now() - startedAt < 5000)
})

t.test('the source that is named is the one whose bytes came first, also when the one before died without a byte', async (t) => {
  const chain = chainOf({}, sourceOf('p2p', 10, async () => fileOf('p2p', { breaksAfter: 0 })), sourceOf('http', 20, async () => fileOf('http')))
  const { file, engaged } = await chain.open(request, never)
  t.equal(file.source, 'p2p')
  t.equal((await bytesOf(file, 0, 999)).length, 1000)
  t.equal(engaged(), 'http')
})
