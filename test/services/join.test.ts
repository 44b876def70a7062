import t from 'tap'
import { Joiner } from '../../services/join.ts'
import { SimulatedClock } from './simulated-clock.ts'
import type { Helper } from '../../services/source.ts'

interface Play {
  /** Bytes per second of the two sources and of the player. */
  readonly swarm: number
  readonly mirror: number
  readonly player: number
  readonly seconds: number
  readonly open?: () => Promise<Helper>
}

/** A film that is played from two sources over simulated time, in steps of 100 ms. The player begins with five seconds in hand. */
async function play ({ swarm, mirror, player, seconds, open }: Play): Promise<{ joinedAt: number[], releasedAt: number[], stalledMs: number, mirrorBytes: number }> {
  const clock = new SimulatedClock()
  const joinedAt: number[] = []
  const releasedAt: number[] = []
  let [available, taken, stalledMs, mirrorBytes] = [0, 0, 0, 0]
  let isHelped = false
  const joiner = new Joiner(0, {
    clock,
    log () {},
    ahead: (position, limit) => Math.min(limit, available - position),
    open: open ?? (async () => ({
      source: 'http-fallback',
      moveTo () { isHelped = true },
      release () {
        isHelped = false
        releasedAt.push(clock.now())
      }
    }))
  })
  await clock.run((async () => {
    let isPlaying = false
    for (let step = 0; step < seconds * 10; step++) {
      await clock.pause(100)
      available += swarm / 10 + (isHelped ? mirror / 10 : 0)
      if (isHelped) mirrorBytes += mirror / 10
      if (joiner.isHelped && joinedAt.length === releasedAt.length) joinedAt.push(clock.now())
      // It fills a buffer of five seconds as fast as it can, and plays from then on.
      const wish = isPlaying ? player / 10 : Math.max(0, player * 5 - taken)
      const bytes = Math.min(wish, available - taken)
      if (isPlaying && bytes < wish) stalledMs += 100
      taken += bytes
      if (bytes > 0) joiner.delivered(bytes)
      isPlaying ||= taken >= player * 5
    }
  })())
  joiner.end()
  return { joinedAt, releasedAt, stalledMs, mirrorBytes }
}

t.test('a swarm at 40 % of what the player takes gets help from a mirror at 80 %, before the player has to wait', async (t) => {
  const { joinedAt, releasedAt, stalledMs } = await play({ swarm: 400_000, mirror: 800_000, player: 1_000_000, seconds: 600 })
  t.equal(stalledMs, 0)
  t.ok((joinedAt[0] ?? Infinity) < 3000, `joined after ${joinedAt[0]} ms`)
  t.ok(releasedAt.length > 1, `${joinedAt.length} times called, ${releasedAt.length} times let go`)
})

t.test('a swarm that is fast enough is left alone once it is ahead', async (t) => {
  const { mirrorBytes, stalledMs } = await play({ swarm: 3_000_000, mirror: 800_000, player: 1_000_000, seconds: 300 })
  t.equal(stalledMs, 0)
  t.ok(mirrorBytes < 30_000_000, `${mirrorBytes} bytes of 300,000,000 came from the mirror`)
})

t.test('a swarm that brings more than any video needs is never helped, however fast a client reads', async (t) => {
  const { joinedAt } = await play({ swarm: 20_000_000, mirror: 800_000, player: 1_000_000_000, seconds: 30 })
  t.strictSame(joinedAt, [])
})

t.test('where nobody can help the response goes on as it is, and help is called again after a while', async (t) => {
  let calls = 0
  await play({ swarm: 100_000, mirror: 0, player: 1_000_000, seconds: 61, open: async () => { calls++; throw new Error('nobody') } })
  t.equal(calls, 4)
})

t.test('help that comes when the response is over is sent away at once', async (t) => {
  const clock = new SimulatedClock()
  const { promise, resolve } = Promise.withResolvers<Helper>()
  let isReleased = false
  const joiner = new Joiner(0, { clock, log () {}, ahead: () => 0, open: async () => await promise })
  await clock.run(clock.pause(3000))
  joiner.end()
  resolve({ source: 'late', moveTo () {}, release () { isReleased = true } })
  await new Promise((resolve) => { setImmediate(resolve) })
  t.equal(isReleased, true)
  t.equal(clock.size, 0, 'no timer is left')
})
