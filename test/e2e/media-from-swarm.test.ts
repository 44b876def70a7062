import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startSeed } from '../services/swarm/webtorrent-seed.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'

const second = testBytes(6_000_000, 'second')
const MiB = 1 << 20

t.test('with nothing but a swarm: playlist, subtitles, health and the next episode', async (t) => {
  const torrent = await makeTorrent({
    'Show.S01E01.mkv': testBytes(500_000, 'first'), 'Show.S01E01.en.srt': Buffer.from('1\n00:00:01,000 --> 00:00:02,000\nHello\n'), 'Show.txt': testBytes(200_000, 'notes'), 'Show.S01E02.mkv': second
  }, { name: 'Show', pieceLength: 65_536 })
  const { address } = await startSeed(t, torrent)
  const { url } = await startApp(t, { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: address, LINGER: '5' })
  const api = `${url}/api/torrents/${torrent.infohash}`

  const m3u = await (await fetch(`${url}/stream/proxy/${torrent.infohash}/playlist.m3u`)).text()
  t.same(m3u.match(/(?<=^#EXTINF:-1,).*/gm), ['Show.S01E01.mkv', 'Show.S01E02.mkv'], 'the metadata came from a peer')
  const { body: { data: [subtitle] } } = await jsonFrom(`${api}/subtitles?fileIndex=0`)
  t.match(subtitle, { fileIndex: 1, language: 'en', videos: [0] })
  t.match(await (await fetch(subtitle.vttUrl)).text(), /^WEBVTT\n[^]*Hello/)
  t.match((await jsonFrom(`${api}/health`)).body.data, { isMetadataKnown: true, peers: 1, peersFrom: 'swarm', estimatedStart: 1, basis: 'peers are connected' })

  await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=0`)
  const preload = await until('the next episode is preloaded', async () => (await jsonFrom(`${api}/preload`)).body.data.find(({ state }: { state: string }) => state === 'done'))
  t.match(preload, { fileIndex: 3, range: null, reason: null })
  const head = await bytesFrom(`${url}/stream/proxy/${torrent.infohash}?fileIndex=3`, { Range: `bytes=0-${2 * MiB - 1}` })
  t.ok(second.subarray(0, 2 * MiB).equals(head))
})
