import t from 'tap'
import { fileNamed, guessFile } from '../../../services/stremio-server/choose-file.ts'

function torrentOf (files: Record<string, number>) {
  let offset = 0
  return {
    name: 'Pack',
    files: Object.entries(files).map(([path, lengthBytes], index) => {
      const components = path.split('/')
      const file = { index, components, name: components.at(-1) ?? '', path, lengthBytes, offset, isPadding: path.startsWith('.pad/') }
      offset += lengthBytes
      return file
    })
  }
}

const season = torrentOf({
  'Show.S01E01.1080p.mkv': 900,
  'Show.S01E02.1080p.mkv': 700,
  'Show.S01E02.480p.mkv': 300,
  'Show.S01E02.en.srt': 999_999,
  'Show.S02E02.mkv': 800,
  'Extras/Making.of.mkv': 5000,
  '.pad/1000': 9_000_000
})

t.test('of a season pack the episode that is asked for is taken, the largest where it is there twice', async (t) => {
  t.equal(guessFile(season, { season: 1, episode: 2 })?.path, 'Show.S01E02.1080p.mkv')
  t.equal(guessFile(season, { season: 2, episode: 2 })?.path, 'Show.S02E02.mkv')
  t.equal(guessFile(season, { season: 1, episode: 9 }), null)
})

t.test('episodes that only their folder and number tell are found, too', async (t) => {
  const plain = torrentOf({ 'Season 1/01 - Pilot.mkv': 10, 'Season 1/02 - Next.mkv': 10, 'Season 2/02 - Later.mkv': 10 })
  t.equal(guessFile(plain, { season: 1, episode: 2 })?.index, 1)
  t.equal(guessFile(plain, { season: 2, episode: 2 })?.index, 2)
})

t.test('without an episode the largest media file is taken', async (t) => {
  t.equal(guessFile(season, {})?.path, 'Extras/Making.of.mkv')
  t.equal(guessFile(season, { season: 1 })?.path, 'Extras/Making.of.mkv')
  t.equal(guessFile(torrentOf({ 'readme.txt': 5 }), {}), null)
})

t.test('what the name includes may be said as text or as an expression', async (t) => {
  t.equal(guessFile(season, { mustInclude: ['480p'] })?.path, 'Show.S01E02.480p.mkv')
  t.equal(guessFile(season, { mustInclude: ['/s02e\\d\\d/i'] })?.path, 'Show.S02E02.mkv')
  t.equal(guessFile(season, { mustInclude: ['/(/'] })?.path, 'Extras/Making.of.mkv', 'no expression at all')
  t.equal(guessFile(season, { mustInclude: ['not there'] })?.path, 'Extras/Making.of.mkv')
})

t.test('an expression that would take for ever holds nobody up', async (t) => {
  const slow = torrentOf({ [`${'a'.repeat(200)}.mkv`]: 1 })
  const before = performance.now()
  t.equal(guessFile(slow, { mustInclude: ['/^(a+)+$/'] })?.index, 0)
  t.ok(performance.now() - before < 2000)
  const again = performance.now()
  for (let i = 0; i < 50; i++) guessFile(slow, { mustInclude: [`/^(a+)+${i}$/`] })
  t.ok(performance.now() - again < 90, 'nor do fifty of them, one after the other')
})

t.test('a file is found by its path, with the folder of the torrent or without, or by its name', async (t) => {
  t.equal(fileNamed(season, 'Extras/Making.of.mkv').index, 5)
  t.equal(fileNamed(season, 'Pack/Extras/Making.of.mkv').index, 5)
  t.equal(fileNamed(season, 'Making.of.mkv').index, 5)
  const twice = torrentOf({ 'S1/01.mkv': 1, 'S2/01.mkv': 1 })
  t.equal(fileNamed(twice, 'S2/01.mkv').index, 1)
  t.throws(() => fileNamed(twice, 'S3/01.mkv'), { code: 'FILE_INDEX' }, 'a file of another season')
  t.throws(() => fileNamed(season, 'nothing.mkv'), { code: 'FILE_INDEX' })
  t.throws(() => fileNamed(season, '1000'), { code: 'FILE_INDEX' }, 'padding is no file')
})
