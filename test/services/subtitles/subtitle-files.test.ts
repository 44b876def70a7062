import t from 'tap'
import { subtitleFilesOf } from '../../../services/subtitles/subtitle-files.ts'
import type { TorrentFile } from '../../../services/torrent/metadata.ts'

function torrentOf (...paths: string[]): { files: TorrentFile[] } {
  return {
    files: paths.map((path, index) => {
      const components = path.split('/')
      return { index, components, name: components.at(-1) ?? '', path, lengthBytes: /sample/i.test(path) ? 10 : 1000, offset: 0, isPadding: path.includes('.pad') }
    })
  }
}

function told (...paths: string[]): Array<[string, string | null, readonly number[]]> {
  return subtitleFilesOf(torrentOf(...paths)).map(({ file, language, videos }) => [file.path, language, videos])
}

t.test("a film's subtitles, wherever they lie", (t) => {
  t.same(told('Movie/Movie.2020.mkv', 'Movie/Movie.2020.en.srt', 'Movie/Subs/2_English.srt', 'Movie/Subs/heb.vtt', 'Movie/other.ass', 'Movie/readme.txt', 'Movie/x.sub', 'Movie/Sample/movie-sample.mkv'), [
    ['Movie/Movie.2020.en.srt', 'en', [0]], ['Movie/Subs/2_English.srt', 'en', [0]], ['Movie/Subs/heb.vtt', 'he', [0]], ['Movie/other.ass', null, [0]]
  ])
  t.end()
})

t.test('each episode of a season pack has its own', (t) => {
  t.same(told(
    'S/Show.S01E01.1080p.mkv', 'S/Show.S01E02.1080p.mkv', 'S/Show.S01E10.1080p.mkv',
    'S/Show.S01E01.1080p.heb.forced.srt', 'S/Subs/Show.S01E02.1080p/2_English.srt', 'S/Subs/show s01e10 french.srt', 'S/Subs/Show - 1x02.ara.ass',
    'S/Subs/S01E01/en.srt', 'S/Subs/nobody.knows.srt', 'S/Subs/Show.S02E01.en.srt'
  ), [
    ['S/Show.S01E01.1080p.heb.forced.srt', 'he', [0]], ['S/Subs/Show.S01E02.1080p/2_English.srt', 'en', [1]], ['S/Subs/show s01e10 french.srt', 'fr', [2]],
    ['S/Subs/Show - 1x02.ara.ass', 'ar', [1]], ['S/Subs/S01E01/en.srt', 'en', [0]], ['S/Subs/nobody.knows.srt', null, []], ['S/Subs/Show.S02E01.en.srt', 'en', []]
  ])
  t.end()
})

t.test('a name that begins like two videos is that of the longer one', (t) => {
  t.same(told('Alien.mkv', 'Alien.3.mkv', 'Alien.3.en.srt', 'Alien.en.srt'), [['Alien.3.en.srt', 'en', [1]], ['Alien.en.srt', 'en', [0]]])
  t.end()
})

t.test('a torrent of 100,000 files is looked through at once, and a thousand are told', (t) => {
  const paths = Array.from({ length: 50_000 }, (_, i) => [`v/${i}.S01E${i}.mkv`, `v/${i}.S01E${i}.a.b.c.d.e.f.g.h.en.srt`]).flat()
  const before = performance.now()
  t.equal(subtitleFilesOf(torrentOf(...paths)).length, 1000)
  t.ok(performance.now() - before < 3000)
  t.end()
})
