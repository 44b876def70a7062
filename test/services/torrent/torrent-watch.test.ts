import t from 'tap'
import { EventBus } from '../../../services/events.ts'
import { TorrentWatch } from '../../../services/torrent/torrent-watch.ts'
import type { ServerEvent } from '../../../services/events.ts'
import type { TorrentWatchOptions } from '../../../services/torrent/torrent-watch.ts'

t.test('a torrent that is removed while it is looked at is not told of afterwards', async (t) => {
  // Its own timers hold no process up.
  const held = setInterval(() => {}, 1000)
  t.teardown(() => { clearInterval(held) })
  const log = { debug () {}, info () {}, warn () {}, error () {} }
  const events = new EventBus(log)
  const asked = Promise.withResolvers<void>()
  const answer = Promise.withResolvers<unknown>()
  const told: string[] = []
  const list = { takeChanged: () => new Set(), isListed: () => true, async status () { asked.resolve(); return await answer.promise } }
  // Only what it asks of them.
  const options = { torrents: { list: () => [], get: () => null }, torrentList: list, events, isFollowed: () => true, log } as unknown as TorrentWatchOptions
  const watch = new TorrentWatch(options)
  events.listen(({ type }: ServerEvent) => { told.push(type) })
  const infohash = 'a1'.repeat(20)
  events.emit({ type: 'added', infohash })
  await asked.promise
  events.emit({ type: 'removed', infohash })
  answer.resolve({ infoHash: infohash, name: 'Film' })
  await watch.close()
  t.same(told, ['added', 'removed'])
})
