import t from 'tap'
import { episodeOfFile, parseReleaseName } from '../../../services/stremio/release-name.ts'

t.test('names of releases tell title, year, quality and episode', async (t) => {
  for (const [name, expected] of [
    ['Show.S01E02.1080p.WEB-DL.x264-GRP.mkv', { title: 'Show', year: null, resolution: '1080p', episode: { season: 1, episode: 2 }, isPack: false }],
    ['The.Office.US.S03E01E02.720p.mkv', { title: 'The Office US', resolution: '720p', episode: { season: 3, episode: 1 } }],
    ['Show שלום 1x02.mkv', { title: 'Show', episode: { season: 1, episode: 2 } }],
    ['[Group] Anime - 12 [1080p].mkv', { title: 'Anime', episode: { season: 0, episode: 12 } }],
    ['Big.Buck.Bunny.2008.1080p.mkv', { title: 'Big Buck Bunny', year: 2008, resolution: '1080p', episode: null }],
    ['Apollo 13 (1995).mkv', { title: 'Apollo 13', year: 1995, episode: null }],
    ['Sintel.mp4', { title: 'Sintel', year: null, resolution: null, episode: null }],
    ['Show.S01.COMPLETE.1080p', { title: 'Show', isPack: true, episode: null }],
    ['סרט', { title: 'סרט', episode: null }],
    ['', { title: 'Unnamed', episode: null }],
    ['.mkv', { episode: null }],
    ['\uD800\u202Efilm.mkv', { episode: null }],
    [' - '.repeat(100_000), { episode: null }]
  ] as const) {
    const parsed = parseReleaseName(name)
    t.match(parsed, expected, name.slice(0, 60))
    t.ok(parsed.title.length > 0)
  }
})

t.test('a file is an episode by its name, else by its number in the folder of a season', async (t) => {
  for (const [path, expected] of [
    ['Pack/Show.S02E03.mkv', { season: 2, episode: 3 }],
    ['Pack/Season 2/03 - Pilot.mkv', { season: 2, episode: 3 }],
    ['Pack/Staffel 1/Episode 7.mkv', { season: 1, episode: 7 }],
    ['Pack/E01.mkv', { season: 1, episode: 1 }],
    ['Pack/Season 3/[Group] Anime - 12 [1080p].mkv', { season: 3, episode: 12 }],
    ['Film/2001 A Space Odyssey.mkv', null],
    ['Film/Extras/12 Monkeys.mkv', null],
    ['Film.2008.mkv', null],
    ['', null]
  ] as const) t.same(episodeOfFile(path), expected, path)
})
