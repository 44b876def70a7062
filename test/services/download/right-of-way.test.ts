import t from 'tap'
import { RightOfWay } from '../../../services/download/right-of-way.ts'

function open (options: { silenceMs: number, limitMs: number }): { right: RightOfWay, freed: Promise<number> } {
  const { promise: freed, resolve } = Promise.withResolvers<number>()
  const since = performance.now()
  return { right: new RightOfWay(() => { resolve(performance.now() - since) }, options), freed }
}

t.test('is held until the last holder gives it back', async (t) => {
  const { right, freed } = open({ silenceMs: 60_000, limitMs: 60_000 })
  const [one, other] = [{}, {}]
  t.equal(right.isHeld, false)
  right.claim(one)
  right.claim(other)
  right.release(one)
  right.release(one)
  t.equal(right.isHeld, true)
  right.release(other)
  t.equal(right.isHeld, false)
  await freed
})

t.test('is lost in silence', async (t) => {
  const { right, freed } = open({ silenceMs: 30, limitMs: 60_000 })
  right.claim({})
  right.progressed({})
  t.ok(await freed >= 29)
  t.equal(right.isHeld, false)
})

t.test('is lost in the end, however much comes', async (t) => {
  const { right, freed } = open({ silenceMs: 40, limitMs: 120 })
  const holder = {}
  right.claim(holder)
  const timer = setInterval(() => { right.progressed(holder) }, 5)
  t.ok(await freed >= 80, 'progress keeps it beyond the time of silence')
  clearInterval(timer)
})
