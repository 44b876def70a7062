const trackers = [
  'udp://explodie.org:6969', 'udp://tracker.coppersurfer.tk:6969', 'udp://tracker.empire-js.us:1337',
  'udp://tracker.leechers-paradise.org:6969', 'udp://tracker.opentrackr.org:1337', 'wss://tracker.btorrent.xyz',
  'wss://tracker.fastcast.nz', 'wss://tracker.openwebtorrent.com'
]

/** Films that are free to watch, and a test picture that needs no network: its title is a key of the texts. */
export const examples = [
  film('Big Buck Bunny', 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c', 'big-buck-bunny'),
  film('Sintel', '08ada5a7a6183aae1e09d831df6748d566095a10', 'sintel'),
  film('Tears of Steel', '209c8226b299b308beaf2b9cd3fb49212dbd13ec', 'tears-of-steel'),
  film('Cosmos Laundromat', 'c9e15763f722f23e98a29decdfae341b98d53056', 'cosmos-laundromat'),
  { key: 'exampleMock', link: '39730aa7c09b864432bc8c878c20c933059241fd' }
]

function film (title, infohash, slug) {
  const files = 'https://webtorrent.io/torrents/'
  const link = [`magnet:?xt=urn:btih:${infohash}`, `dn=${encodeURIComponent(title)}`, ...trackers.map((url) => `tr=${encodeURIComponent(url)}`),
    `ws=${encodeURIComponent(files)}`, `xs=${encodeURIComponent(`${files}${slug}.torrent`)}`].join('&')
  return { title, link }
}
