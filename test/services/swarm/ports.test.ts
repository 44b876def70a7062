import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import t from 'tap'
import type { Test } from 'tap'
import { choosePort, isFree } from '../../../services/swarm/ports.ts'

const both = { tcp: true, udp: true }

async function takeTcp (t: Test, port = 0, host?: string): Promise<number> {
  const server = createServer()
  server.listen(port, host)
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  return address !== null && typeof address === 'object' ? address.port : 0
}

async function takeUdp (t: Test, port = 0): Promise<number> {
  const socket = createSocket('udp4')
  socket.bind(port)
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  return socket.address().port
}

t.test('a port that is free is taken, and is free afterwards', async (t) => {
  const port = await choosePort([0], both)
  t.ok(port >= 1024, String(port))
  t.equal(await choosePort([port], both), port)
  t.equal(await choosePort([port], both), port)
})

t.test('a port of which one side is taken is none', async (t) => {
  const tcp = await takeTcp(t)
  const udp = await takeUdp(t)
  const local = await takeTcp(t, 0, '127.0.0.1')
  t.same(await Promise.all([tcp, udp, local].map(async (port) => await isFree(port, both))), [false, false, false])
  t.equal(await choosePort([tcp], { tcp: false, udp: true }), tcp, 'but for whom only needs the other')
  t.equal(await choosePort([udp], { tcp: true, udp: false }), udp)
})

t.test('the port is taken -> the one of before, else one of the next eight, else any', async (t) => {
  const first = await takeTcp(t)
  const previous = await choosePort([0], both)
  t.equal(await choosePort([first, previous], both), previous)
  const next = await choosePort([first], both)
  t.ok(next > first && next <= first + 8, `${next} after ${first}`)
  const [udp, ...taken] = await freeRun(t, 9)
  t.equal(taken.length, 8)
  const other = await choosePort([udp ?? 0], both)
  t.ok(other < (udp ?? 0) || other > (udp ?? 0) + 8, `${other} after ${String(udp)}`)
})

/** Takes so many UDP ports in a row. */
async function freeRun (t: Test, count: number): Promise<number[]> {
  for (let tries = 0; tries < 50; tries++) {
    const start = 20_000 + tries * 100
    const ports = Array.from({ length: count }, (_, i) => start + i)
    const areFree = await Promise.all(ports.map(async (port) => await isFree(port, both)))
    if (areFree.every(Boolean)) return await Promise.all(ports.map(async (port) => await takeUdp(t, port)))
  }
  throw new Error('no ports in a row')
}
