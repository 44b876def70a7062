import t from 'tap'
import type { NetworkReport } from '../../../services/nat/network-report.ts'
import { SimulatedClock } from '../simulated-clock.ts'
import { Network } from '../../../services/swarm/network.ts'

t.test('a report is told at once, then what has changed since, twice a second at most', async (t) => {
  const clock = new SimulatedClock()
  const told: NetworkReport[] = []
  const network = new Network((report) => { told.push(report) }, clock)
  network.set({ dhtNodes: 1 })
  t.equal(told.length, 1, 'at once')
  network.set({ dhtNodes: 2 })
  network.set({ dhtNodes: 3, bans: 1 })
  t.equal(told.length, 1, 'not each time')
  await clock.run(new Promise<void>((resolve) => { clock.after(500, resolve) }))
  t.match(told.slice(1), [{ dhtNodes: 3, bans: 1 }])
  network.set({ dhtNodes: 3 })
  await clock.run(new Promise<void>((resolve) => { clock.after(1_000, resolve) }))
  t.equal(told.length, 2, 'nothing is new')
})

t.test('what others count is in the report', async (t) => {
  const network = new Network(() => {})
  network.sawInbound('utp')
  network.sawInbound('utp')
  network.sawPunch('initiator', 'tried')
  network.sawPunch('initiator', 'won')
  network.sawPunch('target', 'tried')
  network.sawRelayed()
  t.match(network.report, {
    inbound: { tcp: { count: 0, lastAt: null }, utp: { count: 2, lastAt: /^\d{4}-/ } },
    holePunches: { initiator: { tried: 1, won: 1 }, target: { tried: 1, won: 0 }, relayed: 1 }
  })
})
