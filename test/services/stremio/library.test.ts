import t from 'tap'
import { Library, episodesOf, fileOfEpisode, filesFor, metaOf } from '../../../services/stremio/library.ts'
import { makeTorrent } from '../../testnet.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'

async function torrentOf (files: Record<string, number>, name: string): Promise<Metadata> {
  const entries = Object.entries(files).map(([path, length]): [string, Buffer] => [path, Buffer.alloc(length, path)])
  return (await makeTorrent(Object.fromEntries(entries), { name })).metadata
}

t.test('a season pack is a series, by the names of its files', async (t) => {
  const pack = await torrentOf({ 'Show.S01E10.mkv': 10, 'Show.S01E02.mkv': 20, 'Show.S01E02.2160p.mkv': 40, 'Bonus.mkv': 7, 'Show.S01E02.srt': 3 }, 'Show.S01.1080p')
  t.same(episodesOf(pack)?.map(({ file, season, episode }) => [file.name, season, episode > 10_000 ? 'special' : episode]), [
    ['Bonus.mkv', 0, 'special'], ['Show.S01E02.2160p.mkv', 1, 2], ['Show.S01E02.mkv', 1, 2], ['Show.S01E10.mkv', 1, 10]
  ])
  const meta = metaOf(pack.infohash, pack.name, pack)
  t.match(meta, { id: `selfstreme:${pack.infohash}`, type: 'series', name: 'Show' })
  t.same(meta.videos?.map(({ season, episode }) => `${season}:${episode > 10_000 ? 'x' : episode}`), ['0:x', '1:2', '1:10'], 'the same episode twice is one video')
  t.ok(meta.videos?.every(({ released }) => !Number.isNaN(Date.parse(released))))
  const second = meta.videos?.[1]?.id ?? ''
  t.same(filesFor(pack, Number(second.split(':')[2])).map(({ name }) => name), ['Show.S01E02.2160p.mkv', 'Show.S01E02.mkv'], 'and has two streams')
  t.equal(fileOfEpisode(pack, { season: 1, episode: 2 })?.name, 'Show.S01E02.2160p.mkv')
  t.equal(fileOfEpisode(pack, { season: null, episode: 10 })?.name, 'Show.S01E10.mkv')
  t.equal(fileOfEpisode(pack, { season: 2, episode: 2 }), null)
})

t.test('a film is a movie, with its extras beside it; what is no video is other', async (t) => {
  const film = await torrentOf({ 'Film.2008.1080p.mp4': 100, 'Extras/Making of 1.mp4': 10 }, 'Film.2008.1080p.BluRay')
  t.match(metaOf(film.infohash, film.name, film), { type: 'movie', name: 'Film', releaseInfo: '2008', behaviorHints: { defaultVideoId: `selfstreme:${film.infohash}:0` } })
  const alone = await torrentOf({ 'Sintel.mp4': 10, 'Sintel.srt': 1 }, 'Sintel')
  t.same(metaOf(alone.infohash, alone.name, alone).videos, undefined)
  const music = await torrentOf({ '01.flac': 10, '02.flac': 20 }, 'Album')
  t.match(metaOf(music.infohash, music.name, music), { type: 'other' })
  t.match(metaOf(film.infohash, film.name, film, 'bt:'), { id: `bt:${film.infohash}`, type: 'other' })
  t.match(metaOf(film.infohash, film.infohash, null, 'bt:'), { behaviorHints: { defaultVideoId: `bt:${film.infohash}` } })
})

t.test('catalogs are searched by all words, whatever their case and accents, and come in pages', async (t) => {
  const film = await torrentOf({ 'Amélie.2001.mkv': 10 }, 'Amélie.2001.1080p.mkv')
  const others = Array.from({ length: 150 }, (_, i) => i.toString(16).padStart(40, '0'))
  let looks = 0
  const library = new Library({
    list: {
      infohashes: async () => [film.infohash, ...others],
      status: async (infohash) => Object.assign({ name: `Clip ${parseInt(infohash, 16)}` }, {}) as never
    },
    torrents: {
      async knownMetadata (infohash) {
        looks++
        return infohash === film.infohash ? film : null
      }
    }
  })
  for (const search of ['amelie', 'AMÉLIE 2001', '1080p amelie']) t.match(await library.catalog('movie', { search }), [{ name: 'Amélie', releaseInfo: '2001' }], search)
  t.same(await library.catalog('movie', { search: 'amelie 2002' }), [])
  t.same(await library.catalog('series', {}), [])
  const first = await library.catalog('other', {})
  const second = await library.catalog('other', { skip: 100 })
  t.same([first.length, second.length], [100, 50])
  t.equal(new Set([...first, ...second].map(({ id }) => id)).size, 150)
  looks = 0
  await library.catalog('movie', {})
  t.equal(looks, 150, 'what is known for good is not looked at again')
})
