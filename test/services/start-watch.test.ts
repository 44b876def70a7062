import t from 'tap'
import { EventBus } from '../../services/events.ts'
import { silent } from '../../services/log.ts'
import { StartWatch } from '../../services/start-watch.ts'

function setUp () {
  const events = new EventBus(silent)
  const time = { now: 0 }
  const watch = new StartWatch(events, () => time.now)
  const refuse = (infohash: string, isTemporary = true): void => {
    events.emit({ type: 'refused', infohash, refusals: [{ source: 'p2p', code: 'P2P_TIMEOUT', message: 'nobody', isTemporary }] })
  }
  const start = (source: string): void => { events.emit({ type: 'started', infohash: 'a', source, timings: [], ms: 5 }) }
  return { time, watch, refuse, start }
}

t.test('five torrents in a row that nobody serves are a problem, one that is asked for five times is not', async (t) => {
  const { watch, refuse } = setUp()
  for (let i = 0; i < 5; i++) refuse('a')
  t.equal(watch.problem, null)
  for (const infohash of ['b', 'c', 'd']) refuse(infohash)
  t.equal(watch.problem, null)
  refuse('e')
  t.equal(watch.problem, 'sources: none of the last 5 torrents that were asked for could be served')
})

t.test('one that plays ends it, unless it was on this machine', async (t) => {
  const { watch, refuse, start } = setUp()
  for (const infohash of ['a', 'b', 'c', 'd', 'e']) refuse(infohash)
  start('cache')
  start('mock')
  t.match(watch.problem, /none of the last 5/)
  start('http-fallback')
  t.equal(watch.problem, null)
})

t.test('it is forgotten after ten minutes, and what is wrong with the torrent itself does not count', async (t) => {
  const { time, watch, refuse } = setUp()
  for (const infohash of ['a', 'b', 'c', 'd', 'e']) refuse(infohash, false)
  t.equal(watch.problem, null)
  for (const infohash of ['a', 'b', 'c', 'd', 'e']) refuse(infohash)
  t.match(watch.problem, /none/)
  time.now = 600_001
  t.equal(watch.problem, null)
})

t.test('it remembers a hundred at most', async (t) => {
  const { watch, refuse } = setUp()
  for (let i = 0; i < 500; i++) refuse(String(i))
  t.equal(watch.problem, 'sources: none of the last 100 or more torrents that were asked for could be served')
})
