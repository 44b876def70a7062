import t from 'tap'
import { hopsOf, isLoop, maxHops, newHop, viaOf } from '../../../services/download/via.ts'

t.test('the servers that a request came through are read from Via, other proxies are not counted', async (t) => {
  for (const [via, hops] of [
    [undefined, []],
    ['', []],
    ['1.1 nginx', []],
    ['1.1 self-streme', []],
    ['1.1 self-streme-0a1b2c3d', ['self-streme-0a1b2c3d']],
    ['HTTP/1.1 self-streme-0a1b2c3d (a comment), 2 cloudflare,1.1 self-streme-ffffffff', ['self-streme-0a1b2c3d', 'self-streme-ffffffff']],
    ['1.1 self-streme-0a1b2c3d, 1.1 self-streme-0a1b2c3d', ['self-streme-0a1b2c3d']],
    ['1.1 self-streme-0a1b2c3d9, 1.1 x-self-streme-0a1b2c3d, 1.1 (self-streme-0a1b2c3d)', []]
  ] as const) t.strictSame(hopsOf(via), hops, via ?? 'none')
  const many = Array.from({ length: 1000 }, newHop)
  t.equal(hopsOf(viaOf(many, newHop())).length, maxHops)
})

t.test('a request that came through this server, or through too many, is a loop', async (t) => {
  const own = newHop()
  const others = Array.from({ length: maxHops }, newHop)
  t.equal(isLoop([], own), false)
  t.equal(isLoop(others.slice(1), own), false)
  t.equal(isLoop(others, own), true)
  t.equal(isLoop(hopsOf(viaOf([others[0] ?? ''], own)), own), true)
})
