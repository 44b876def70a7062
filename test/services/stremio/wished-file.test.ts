import t from 'tap'
import { linksFrom } from '../../../services/links.ts'
import { parseWish, wishedFile } from '../../../services/stremio/wished-file.ts'

function torrentOf (files: Record<string, number>) {
  return { files: Object.entries(files).map(([path, lengthBytes], index) => ({ index, components: path.split('/'), name: path.split('/').at(-1) ?? '', path, lengthBytes, offset: 0, isPadding: false })) }
}

const pack = torrentOf({ 'Show.S01E01.mkv': 9, 'Show.S01E02.mkv': 5, 'Show.S02E02.mkv': 7, 'Extra.mkv': 20 })

t.test('a wish is read from an address as it was written there', async (t) => {
  for (const wish of [{ episode: { season: 1, episode: 2 }, fileName: null }, { episode: { season: null, episode: 12 }, fileName: 'a &=%2F\n.mkv' }, { episode: null, fileName: 'ünï.mkv' }]) {
    const { searchParams } = new URL(linksFrom('https://a.example').stream('e'.repeat(40), { wish }))
    t.same(parseWish(Object.fromEntries(searchParams)), wish)
  }
  t.doesNotThrow(() => linksFrom(null).stream('e'.repeat(40), { wish: { episode: null, fileName: 'x'.repeat(299) + '\u{1F4A9}\uD800' } }))
  t.notMatch(linksFrom(null).stream('e'.repeat(40), { fileIndex: 0, wish: { episode: { season: 1, episode: 2 }, fileName: null } }), /episode/, 'an index says all')
  for (const none of [{}, { episode: 'x' }, { episode: '1:' }, { episode: '1:2:3' }, { episode: '-1:2' }, { episode: '1e3:1' }, { fileName: '' }]) t.equal(parseWish(none), null)
})

t.test('the file of that name, else that episode', async (t) => {
  const index = (wish: Parameters<typeof wishedFile>[1]) => wishedFile(pack, wish)?.index ?? null
  t.equal(index({ episode: { season: 1, episode: 2 }, fileName: null }), 1)
  t.equal(index({ episode: { season: 1, episode: 2 }, fileName: 'Show.S02E02.mkv' }), 2)
  t.equal(index({ episode: { season: 1, episode: 2 }, fileName: 'Show.S01.COMPLETE' }), 1, 'the name of the pack names no file')
  t.equal(index({ episode: null, fileName: 'nothing' }), null)
  t.throws(() => index({ episode: { season: 3, episode: 1 }, fileName: null }), { code: 'FILE_INDEX' }, 'no other episode in its place')
  t.equal(wishedFile(torrentOf({ 'Show - 17.mkv': 9 }), { episode: { season: 2, episode: 5 }, fileName: null }), null, 'a single one is the one')
  t.equal(wishedFile(torrentOf({ 'Show - 04.mkv': 9, 'Show - 05.mkv': 9 }), { episode: { season: 2, episode: 5 }, fileName: null })?.index, 1, 'where no season is named, the number counts')
  t.equal(wishedFile(torrentOf({ 'Film.mkv': 9, 'Extra.mkv': 1 }), { episode: { season: 1, episode: 1 }, fileName: null }), null)
})
