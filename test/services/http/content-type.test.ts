import t from 'tap'

import { contentTypeOf, isMedia, isVideo, videoExtensions } from '../../../services/http/content-type.ts'

const table: Array<[extensions: string, type: string, kind: 'video' | 'audio' | 'neither']> = [
  ['mp4 m4v', 'video/mp4', 'video'],
  ['mkv', 'video/x-matroska', 'video'],
  ['webm', 'video/webm', 'video'],
  ['avi', 'video/x-msvideo', 'video'],
  ['mov', 'video/quicktime', 'video'],
  ['flv', 'video/x-flv', 'video'],
  ['ts m2ts mts', 'video/mp2t', 'video'],
  ['mpg mpeg', 'video/mpeg', 'video'],
  ['wmv', 'video/x-ms-wmv', 'video'],
  ['ogv', 'video/ogg', 'video'],
  ['3gp', 'video/3gpp', 'video'],
  ['mp3', 'audio/mpeg', 'audio'],
  ['m4a', 'audio/mp4', 'audio'],
  ['flac', 'audio/flac', 'audio'],
  ['srt', 'application/x-subrip', 'neither'],
  ['vtt', 'text/vtt', 'neither'],
  ['ass', 'text/x-ssa', 'neither'],
  ['m3u8', 'application/vnd.apple.mpegurl', 'neither'],
  ['m3u', 'audio/x-mpegurl', 'neither'],
  ['html htm svg js xml txt nfo jpg exe zip part constructor __proto__', 'application/octet-stream', 'neither']
]

t.test('the extension says what a file is, whatever its case and its folder', async t => {
  for (const [extensions, type, kind] of table) {
    for (const extension of extensions.split(' ')) {
      for (const name of [`film.${extension}`, `A.Film.2020.${extension.toUpperCase()}`, `映画.mp4/映画.${extension}`]) {
        t.equal(contentTypeOf(name), type, name)
        t.equal(isVideo(name), kind === 'video', name)
        t.equal(isMedia(name), kind !== 'neither', name)
      }
    }
  }
})

t.test('a name without an extension is unknown', async t => {
  for (const name of ['', 'mp4', 'film', 'film.', '.mp4', 'film.mp4.', 'film.mp4 ', 'film.mp4.txt']) {
    t.equal(contentTypeOf(name), 'application/octet-stream', JSON.stringify(name))
    t.notOk(isMedia(name))
  }
})

t.test('what counts as placed in the cache is video', async t => {
  for (const extension of ['mp4', 'mkv', 'avi', 'mov', 'm4v', 'webm', 'flv']) t.ok(videoExtensions.has(extension), extension)
  t.notOk(videoExtensions.has('mp3'))
})
