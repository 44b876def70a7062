import { createServer } from 'node:http'
import t from 'tap'
import { Fetcher } from '../../../services/download/fetcher.ts'
import { TrackerMemory } from '../../../services/swarm/tracker-memory.ts'
import { Trackers } from '../../../services/swarm/trackers.ts'
import { listenOnLoopback } from '../../loopback.ts'
import { until } from '../../testnet.ts'
import type { Test } from 'tap'

t.test('a tracker rests after three failures in a row, twice as long each further time, and not any more once it has answered', async (t) => {
  let now = 0
  const memory = new TrackerMemory(() => now)
  for (let i = 0; i < 2; i++) memory.failed('a')
  t.equal(memory.isResting('a'), false)
  memory.failed('a')
  for (const ms of [60_000, 120_000, 240_000, 480_000, 900_000, 900_000]) {
    // Torrents that had asked before say nothing new.
    for (let i = 0; i < 5; i++) memory.failed('a')
    now += ms - 1
    t.equal(memory.isResting('a'), true)
    now += 1
    t.equal(memory.isResting('a'), false)
    memory.failed('a')
  }
  memory.answered('a')
  for (let i = 0; i < 2; i++) memory.failed('a')
  t.equal(memory.isResting('a'), false)
  for (let i = 0; i < 2000; i++) memory.failed(String(i))
  for (let i = 0; i < 3; i++) memory.failed('b')
  t.equal(memory.isResting('b'), true, 'the latest are known')
})

t.test('what one torrent has learnt of a dead tracker keeps others from asking it, until its rest is over', async (t) => {
  let now = 0
  const memory = new TrackerMemory(() => now)
  const fetcher = new Fetcher({ allowPrivateNetworks: true })
  t.teardown(async () => { await fetcher.close() })
  let asked = 0
  let isDead = true
  const url = `${await listenOnLoopback(t, createServer((_request, response) => {
    asked++
    if (isDead) response.writeHead(500).end()
    else response.end('d8:intervali900e5:peers6:\x7f\x00\x00\x01\x27\x10e')
  }))}/announce`
  const peers: unknown[] = []
  const first = join(t, { memory, fetcher, url, peers })
  for (let i = 1; i <= 3; i++) {
    await until(`it failed ${i} times`, () => asked === i && first.isAnswered)
    await until('it may be asked again', () => { first.update(); return asked > i || memory.isResting(url) })
  }
  t.equal(memory.isResting(url), true)
  const second = join(t, { memory, fetcher, url, peers })
  t.equal(second.isAnswered, true, 'nobody waits for its answer')
  const before = asked
  second.update()
  isDead = false
  now = 60_000
  second.update()
  await until('it was asked, and knew a peer', () => peers.length > 0)
  t.equal(asked, before + 1)
  t.equal(memory.isResting(url), false)
})

function join (t: Test, { memory, fetcher, url, peers }: { memory: TrackerMemory, fetcher: Fetcher, url: string, peers: unknown[] }): Trackers {
  const trackers = new Trackers({
    trusted: new Set([url]),
    isRefused: () => false,
    allowPrivateNetworks: true,
    fetcher,
    memory,
    rtc: { rtcConfig: {}, wrtc: false },
    announcement: () => ({ infohash: 'a'.repeat(40), peerId: 'b'.repeat(40), port: 6881, uploaded: 0, downloaded: 0, left: 1, userAgent: 'test' }),
    onPeer: (peer) => { peers.push(peer) },
    onProblem () {}
  })
  t.teardown(async () => { await trackers.leave() })
  trackers.add([url])
  return trackers
}
