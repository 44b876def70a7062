import t from 'tap'
import { addonLanguage } from '../../../services/stremio/languages.ts'
import { episodeOfId, parseTorrentId, torrentId } from '../../../services/stremio/protocol.ts'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

t.test('an id of a torrent reads back as it was written, and nothing else is one', async (t) => {
  for (const choice of [{}, { fileIndex: 0 }, { prefix: 'bt:', fileIndex: 12 }, { prefix: 'bt:' }] as const) {
    t.same(parseTorrentId(torrentId(infohash, choice)), { prefix: 'selfstreme:', fileIndex: null, ...choice, infohash })
  }
  t.same(parseTorrentId(`BT:${infohash.toUpperCase()}:3`), { prefix: 'bt:', infohash, fileIndex: 3 })
  for (const id of ['', 'tt0032138', infohash, `selfstreme:${infohash}:`, `selfstreme:${infohash}:x`, `selfstreme:${infohash}:-1`, `bt:${infohash}0`, `bt:${infohash}:1:2`]) t.equal(parseTorrentId(id), null, id)
})

t.test('the ids of other catalogs tell the episode', async (t) => {
  t.same(episodeOfId('tt0386676:1:2'), { season: 1, episode: 2 })
  t.same(episodeOfId('kitsu:12:3'), { season: null, episode: 3 })
  for (const id of ['tt0386676', 'kitsu:12', 'yt_id:abc', 'x:y:z', '']) t.equal(episodeOfId(id), null, id)
})

t.test('languages have the three letters that Stremio knows', async (t) => {
  for (const [language, expected] of [['en', 'eng'], ['he', 'heb'], ['pt-BR', 'pob'], ['zh-Hans', 'chi'], ['yue', 'yue'], [null, 'und']] as const) t.equal(addonLanguage(language), expected)
})
