import t from 'tap'
import { Bans, splitAddress } from '../../../services/swarm/bans.ts'
import type { PeerIdentity } from '../../../services/swarm/bans.ts'

const hour = 3_600_000

function clock (): { now: () => number, pass: (ms: number) => void } {
  let now = 5
  return { now: () => now, pass: (ms) => { now += ms } }
}

function peer (ip: string, port: number, name: string): PeerIdentity {
  return { ip, port, peerId: Buffer.from(name.padEnd(20, '-')).toString('hex') }
}

t.test('the second wrong piece bans a peer: by its address, and by its id wherever at its IP it comes from', async (t) => {
  const bans = new Bans(clock().now)
  const liar = peer('192.0.2.1', 6881, 'liar')
  t.notOk(bans.offend(liar))
  t.notOk(bans.isRefused('192.0.2.1', 6881))
  t.ok(bans.offend(liar))
  t.ok(bans.isRefused('192.0.2.1', 6881))
  t.ok(bans.isPeerRefused({ ...liar, port: 50_001 }), 'it has another port when it comes to us')
  t.ok(bans.isRefused('192.0.2.1', 50_001), 'and that is known from then on')
  t.notOk(bans.isRefused('192.0.2.1', 6882), 'its neighbours are not banned')
  t.notOk(bans.isPeerRefused(peer('192.0.2.1', 6882, 'neighbour')))
  t.notOk(bans.isPeerRefused({ ...liar, ip: '192.0.2.2' }), 'nor is one elsewhere who has the same id: anybody can take it')
  t.equal(bans.total, 1)
})

t.test('a ban lasts an hour, then twice as long for one more wrong piece', async (t) => {
  const { now, pass } = clock()
  const bans = new Bans(now)
  const liar = peer('192.0.2.1', 6881, 'liar')
  bans.offend(liar)
  bans.offend(liar)
  pass(hour - 1)
  t.ok(bans.isRefused(liar.ip, liar.port))
  t.equal(bans.count, 1)
  pass(2)
  t.notOk(bans.isRefused(liar.ip, liar.port))
  t.equal(bans.count, 0)
  t.ok(bans.offend(liar), 'one is enough now')
  pass(2 * hour - 1)
  t.ok(bans.isPeerRefused(liar))
  pass(2)
  t.notOk(bans.isPeerRefused(liar))
})

t.test('lies under ever new names ban the IP, unless somebody honest lives there', async (t) => {
  for (const hasHonest of [false, true]) {
    const bans = new Bans(clock().now)
    if (hasHonest) bans.vouch(peer('192.0.2.1', 6999, 'honest'))
    for (let i = 0; i < 4; i++) bans.offend(peer('192.0.2.1', 7000 + i, `name ${i}`))
    t.equal(bans.isRefused('192.0.2.1', 6999), !hasHonest)
    t.equal(bans.count, hasHonest ? 0 : 1)
  }
  const bans = new Bans(clock().now)
  const flatterer = peer('192.0.2.1', 6881, 'flatterer')
  bans.vouch(flatterer)
  for (let i = 0; i < 9; i++) bans.offend(i % 2 === 0 ? flatterer : peer('192.0.2.1', 6882, 'friend'))
  t.notOk(bans.isRefused('192.0.2.1', 1), 'two are not enough, whatever they do')
  for (let i = 0; i < 2; i++) bans.offend(peer('192.0.2.1', 7000 + i, `name ${i}`))
  t.ok(bans.isRefused('192.0.2.1', 1), 'a liar that was right before does not count as honest')
})

t.test('what comes to light of one that is banned already says nothing of its neighbours', async (t) => {
  const bans = new Bans(clock().now)
  for (let i = 0; i < 50; i++) bans.offend(peer('192.0.2.1', 6881, 'liar'))
  t.notOk(bans.isRefused('192.0.2.1', 6882))
  t.equal(bans.total, 1)
})

t.test('who wastes time is set aside for minutes, and is no ban', async (t) => {
  const { now, pass } = clock()
  const bans = new Bans(now)
  const idler = peer('192.0.2.1', 6881, 'idler')
  bans.setAside(idler)
  t.ok(bans.isRefused(idler.ip, idler.port))
  t.equal(bans.count, 0)
  pass(5 * 60_000 + 1)
  t.notOk(bans.isRefused(idler.ip, idler.port))
  bans.setAside(idler)
  pass(9 * 60_000)
  t.ok(bans.isPeerRefused({ ...idler, port: 1 }), 'longer the second time')
})

t.test('the table is bounded, and forgets the oldest', async (t) => {
  const bans = new Bans(clock().now)
  for (let i = 0; i < 20_000; i++) {
    const liar = peer(`192.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 6881, `liar ${i}`)
    bans.offend(liar)
    bans.offend(liar)
    bans.vouch(peer(liar.ip, 1, 'honest'))
    bans.setAside(peer(liar.ip, 2, 'idler'))
  }
  t.ok(bans.count <= 5_000)
  t.notOk(bans.isRefused('192.0.0.0', 6881))
  t.ok(bans.isRefused('192.0.78.31', 6881))
})

t.test('an address is one address, however it is written', async (t) => {
  for (const [text, ip, port] of [
    ['192.0.2.1:80', '192.0.2.1', 80], ['::ffff:192.0.2.1:80', '192.0.2.1', 80], ['[::ffff:c000:201]:80', '192.0.2.1', 80],
    ['[2001:DB8::1]:6881', '2001:db8:0:0:0:0:0:1', 6881], ['2001:db8:0:0:0:0:0:1:6881', '2001:db8:0:0:0:0:0:1', 6881]
  ] as const) t.same(splitAddress(text), { ip, port }, text)
  for (const text of ['', 'a.example:80', '192.0.2.1', '#2', 'b1946ac92492d2347c6235b4d2611184', ':80']) t.equal(splitAddress(text), null, text)
})
