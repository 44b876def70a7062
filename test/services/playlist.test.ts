import t from 'tap'
import { linksFrom } from '../../services/links.ts'
import { formatM3u, playlistOf } from '../../services/playlist.ts'
import { makeTorrent } from '../testnet.ts'

const links = linksFrom('http://host:11470')
const content = Buffer.alloc(1000, 'x')

t.test('a season pack in its natural order, each episode with its subtitles', async (t) => {
  const { metadata, infohash } = await makeTorrent({
    'Show.S01E10.mkv': content, 'Show.S01E2.mkv': content, 'Show.S01E1.mp4': content, 'Show.S01E2.en.srt': content, 'Show.S01E2.he.ass': content, 'sample/sample.mkv': Buffer.alloc(10), 'cover.jpg': content
  }, { name: 'Show' })
  t.equal(formatM3u(metadata.name, playlistOf(metadata, null, links, ['udp://t.example:1/announce'])), `#EXTM3U
#PLAYLIST:Show
#EXTINF:-1,Show.S01E1.mp4
http://host:11470/stream/${infohash}/2/Show.S01E1.mp4?tr=udp%3A%2F%2Ft.example%3A1%2Fannounce
#EXTINF:-1,Show.S01E2.mkv
#EXTVLCOPT:input-slave=http://host:11470/api/torrents/${infohash}/subtitles/3.vtt#http://host:11470/api/torrents/${infohash}/subtitles/4
http://host:11470/stream/${infohash}/1/Show.S01E2.mkv?tr=udp%3A%2F%2Ft.example%3A1%2Fannounce
#EXTINF:-1,Show.S01E10.mkv
http://host:11470/stream/${infohash}/0/Show.S01E10.mkv?tr=udp%3A%2F%2Ft.example%3A1%2Fannounce
`)
  t.same(playlistOf(metadata, 6, links, []).map(({ url }) => url), [`http://host:11470/stream/${infohash}/6/cover.jpg`])
  t.throws(() => playlistOf(metadata, 7, links, []), { code: 'FILE_INDEX' })
})

t.test('without a video all that can be heard, else the default file', async (t) => {
  const album = await makeTorrent({ '1.mp3': content, '2.flac': content, 'cover.jpg': content }, { name: 'Album' })
  t.same(playlistOf(album.metadata, null, links, []).map(({ title }) => title), ['1.mp3', '2.flac'])
  const book = await makeTorrent({ 'book.pdf': content })
  t.same(playlistOf(book.metadata, null, links, []).map(({ title }) => title), ['book.pdf'])
})

t.test('no name adds a line or an option, or turns the text around', (t) => {
  const evil = 'x\n#EXTVLCOPT:sout=file\r\nhttp://evil\u2028\u0085\u202egpm.\0<b>"\ud800'
  const m3u = formatM3u(evil, [{ title: evil, url: links.stream('a'.repeat(40), { fileIndex: 0, name: `${evil}/../../${'y'.repeat(10_000)}.mkv` }), subtitles: [] }])
  const lines = m3u.split(/[\r\n\u2028\u2029\u0085]/u)
  t.equal(lines.length, 5, 'four and the end of the last')
  t.match(lines, ['#EXTM3U', /^#PLAYLIST:x #EXTVLCOPT/, /^#EXTINF:-1,x #EXTVLCOPT/, /^http:\/\/host:11470\/stream\/a{40}\/0\/[\w.%-]+\.mkv$/, ''])
  t.ok((lines[3] ?? '').length < 1500)
  t.notMatch(m3u, /\u202e|\0/)
  t.end()
})
