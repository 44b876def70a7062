import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { startWatchdog } from '../../services/watchdog.ts'
import { urgencies } from '../../services/pieces/demand.ts'
import { startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Torrent } from '../../services/torrent/torrent.ts'

t.test('a download that has lost the word of what readers want heals within seconds', async (t) => {
  // Not two videos: the second would be preloaded once the first is over.
  const torrent = await makeTorrent({ 'One.mp4': testBytes(300_000, 'one'), 'Two.bin': testBytes(200_000, 'two') }, { pieceLength: 65_536 })
  const mirror = await startMirror(t, torrent)
  const { app, url } = await startApp(t, { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  const response = await fetch(`${url}/stream/proxy/${torrent.infohash}`)
  t.equal((await response.arrayBuffer()).byteLength, 300_000)
  const running = app.torrents.get(torrent.infohash)
  const [store, filler] = [running?.store, running?.fillers[0]]
  if (store == null || filler === undefined) throw new Error('nothing runs')
  // What the last reader left behind is looked at after a second: that would heal it, too.
  await pause(1500)
  filler.demand.removeAllListeners('change')
  const last = store.geometry.piece(store.geometry.pieceCount - 1)
  t.equal(store.has(last), false)
  filler.demand.open().set([{ first: last, last, urgency: urgencies.waiting }])
  await until('the piece is there', () => store.has(last), 15_000)
})

t.test('every torrent is looked after, also when one of them throws, until it is stopped', async (t) => {
  const messages: string[] = []
  const note = (_fields: object, message: string): void => { messages.push(message) }
  let looks = 0
  const broken = { infohash: 'a', get fillers (): never { throw new Error('boom') } }
  const sound = { infohash: 'b', fillers: [{ reassert () { looks++ } }, {}], store: { wakeReaders: () => looks === 1 ? 2 : 0 } }
  const stop = startWatchdog({
    // Only what the watchdog touches is there.
    torrents: { list: () => [broken, sound] as unknown as Torrent[] },
    intervalMs: 5,
    log: { debug: note, info: note, warn: note, error: note }
  })
  await until('it has looked a few times', () => looks > 2)
  stop()
  const seen = looks
  t.ok(messages.includes('readers were waiting for pieces that are there'))
  t.ok(messages.includes('a torrent could not be looked after'))
  await new Promise((resolve) => { setTimeout(resolve, 30) })
  t.equal(looks, seen)
})
