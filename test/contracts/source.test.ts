import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { makeTorrent, testBytes } from '../testnet.ts'
import { testSource } from './source.ts'

const content = testBytes(1_234_567, 'contract')
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const only = { ENABLE_MOCK: 'false', ENABLE_HTTP_FALLBACK: 'false', ENABLE_P2P: 'false' }

testSource(t, 'cache', async (t) => {
  const { app, directory } = await startApp(t, only)
  const infohash = 'c'.repeat(40)
  await writeFile(join(directory, `${infohash}.mp4`), content)
  return { sources: app.sources, name: 'cache', infohash, content, isVerified: false, isLocal: true }
})

testSource(t, 'mock', async (t) => {
  const { app } = await startApp(t, { ...only, ENABLE_MOCK: 'true' })
  const video = await readFile(join(import.meta.dirname, '..', '..', 'assets', 'mock.mp4'))
  return { sources: app.sources, name: 'mock', infohash: mockHash, content: video, isVerified: false, isLocal: true }
})

testSource(t, 'http-fallback', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': content })
  const mirror = await startMirror(t, torrent)
  const { app } = await startApp(t, { ...only, ENABLE_HTTP_FALLBACK: 'true', TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl })
  return { sources: app.sources, name: 'http-fallback', infohash: torrent.infohash, content, isVerified: true, isLocal: false }
})

testSource(t, 'http-fallback, unverified', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': content })
  const mirror = await startMirror(t, torrent)
  const template = mirror.mirrorUrl.replace('{index}', '0')
  const { app } = await startApp(t, { ...only, ENABLE_HTTP_FALLBACK: 'true', HTTP_MIRROR_URLS: `trusted:${template}` })
  return { sources: app.sources, name: 'http-fallback', infohash: torrent.infohash, content, isVerified: false, isLocal: false }
})
