import t from 'tap'
import { LiveEvents } from '../../services/live-events.ts'
import type { EventClient } from '../../services/live-events.ts'

const infohash = 'a'.repeat(40)
const all = { infohash: null, lastEventId: null }

/** A client that takes what it is given, or lets it wait. */
function client (isReading = true): EventClient & { readonly text: () => string, readonly ids: () => number[], readonly isEnded: () => boolean, readonly buffers: Uint8Array[] } {
  const buffers: Uint8Array[] = []
  let waiting = 0
  let isEnded = false
  return {
    buffers,
    get bufferedBytes () { return waiting },
    write (bytes) {
      buffers.push(bytes)
      if (!isReading) waiting += bytes.length
    },
    end () { isEnded = true },
    destroy () { isEnded = true },
    text: () => Buffer.concat(buffers).toString(),
    ids () { return [...this.text().matchAll(/"n":(\d+)/g)].map(([, n]) => Number(n)) },
    isEnded: () => isEnded
  }
}

function publish (live: LiveEvents, n: number, of: string | null = null, latestOf?: string): void {
  live.publish({ type: 'test', infohash: of, data: { n }, ...latestOf === undefined ? {} : { latestOf } })
}

/** Who comes must not get what is on its way: that is sent first. */
function flush (live: LiveEvents): void {
  live.follow(client(), all)?.()
}

t.test('each event is serialised once, and what happens together is one write for all', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000 })
  t.teardown(() => { live.close() })
  const clients = [client(), client(), client()]
  for (const one of clients) live.follow(one, all)
  for (let n = 1; n <= 10; n++) publish(live, n)
  flush(live)
  for (const one of clients) t.same(one.ids(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  t.equal(clients[0]?.buffers.length, 2, 'the beginning, and one batch')
  t.equal(clients[0]?.buffers[1], clients[1]?.buffers[1], 'the very same bytes')
})

t.test('who follows one torrent hears of that, and of what concerns all', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000 })
  t.teardown(() => { live.close() })
  const one = client()
  live.follow(one, { infohash, lastEventId: null })
  publish(live, 1, infohash)
  publish(live, 2, 'b'.repeat(40))
  publish(live, 3)
  flush(live)
  t.same(one.ids(), [1, 3])
})

t.test('who comes back gets what it missed, once, and of a progress the latest only', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000 })
  t.teardown(() => { live.close() })
  publish(live, 1)
  const { lastEventId } = live
  publish(live, 2, infohash, 'progress')
  publish(live, 3)
  publish(live, 4, infohash, 'progress')
  const early = client()
  live.follow(early, all)
  publish(live, 5)
  const back = client()
  live.follow(back, { infohash: null, lastEventId })
  flush(live)
  t.same(back.ids(), [3, 4, 5])
  t.notMatch(back.text(), /event: reset/)
  t.same(early.ids(), [5])
  const again = client()
  live.follow(again, { infohash: null, lastEventId: live.lastEventId })
  t.same(again.ids(), [], 'nothing was missed')
  t.notMatch(again.text(), /event:/)
})

t.test('where what was missed is gone, or the id is of another life of the server, it says reset and goes on from there', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000, keptEvents: 3 })
  const other = new LiveEvents({ heartbeatMs: 60_000 })
  t.teardown(() => { live.close() })
  publish(live, 1)
  const { lastEventId } = live
  for (let n = 2; n <= 5; n++) publish(live, n)
  for (const id of [lastEventId, other.lastEventId, 'nonsense', '', `${lastEventId}0000`]) {
    const one = client()
    const leave = live.follow(one, { infohash: null, lastEventId: id })
    t.match(one.text(), /event: reset\n/, id)
    t.same(one.ids(), [], id)
    t.ok(one.text().includes(`id: ${live.lastEventId}\n`), id)
    leave?.()
  }
})

t.test('what is kept is bounded in bytes, too', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000, keptBytes: 10_000 })
  t.teardown(() => { live.close() })
  const { lastEventId } = live
  for (let n = 0; n < 30; n++) live.publish({ type: 'test', infohash: null, data: { text: 'x'.repeat(1000) } })
  const one = client()
  live.follow(one, { infohash: null, lastEventId })
  t.match(one.text(), /event: reset/)
})

t.test('a client that does not read is dropped at its bound, and the others hear everything', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000, maxBufferedBytes: 5_000 })
  t.teardown(() => { live.close() })
  const [slow, quick] = [client(false), client()]
  live.follow(slow, all)
  live.follow(quick, all)
  for (let n = 0; n < 20; n++) {
    live.publish({ type: 'test', infohash: null, data: { n, text: 'x'.repeat(1000) } })
    flush(live)
  }
  t.ok(slow.isEnded())
  t.ok(slow.bufferedBytes <= 5_000 + 1_100, `${slow.bufferedBytes} bytes waited`)
  t.same([live.size, live.dropped], [1, 1])
  t.equal(quick.ids().length, 20)
})

t.test('so many follow and no more; who leaves makes a place', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000, maxClients: 2 })
  t.teardown(() => { live.close() })
  const leave = live.follow(client(), all)
  live.follow(client(), all)
  const third = client()
  t.equal(live.follow(third, all), null)
  t.equal(third.buffers.length, 0, 'nothing was said to it')
  leave?.()
  t.ok(live.follow(client(), all))
})

t.test('while nothing happens a comment says that the connection is alive', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 10 })
  // In a server its connections keep the process alive; here nothing would.
  const alive = setInterval(() => {}, 1000)
  t.teardown(() => {
    live.close()
    clearInterval(alive)
  })
  const heard = Promise.withResolvers<void>()
  live.follow({ bufferedBytes: 0, write (bytes) { if (Buffer.from(bytes).equals(Buffer.from(':\n\n'))) heard.resolve() }, end () {}, destroy () {} }, all)
  await heard.promise
})

t.test('closing ends everybody, and nobody can follow afterwards', async (t) => {
  const live = new LiveEvents({ heartbeatMs: 60_000 })
  const one = client()
  live.follow(one, all)
  publish(live, 1)
  live.close()
  t.ok(one.isEnded())
  t.same(one.ids(), [1], 'what happened before was told')
  t.equal(live.follow(client(), all), null)
})
