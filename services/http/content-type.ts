import { extname } from 'node:path'

/** Own tables and no generic one: those take `.ts` for TypeScript, and would serve a torrent's HTML as our own page. */
const videoTypes: ReadonlyMap<string, string> = new Map([
  ['mp4', 'video/mp4'],
  ['m4v', 'video/mp4'],
  ['mkv', 'video/x-matroska'],
  ['webm', 'video/webm'],
  ['avi', 'video/x-msvideo'],
  ['divx', 'video/x-msvideo'],
  ['mov', 'video/quicktime'],
  ['flv', 'video/x-flv'],
  ['ts', 'video/mp2t'],
  ['m2ts', 'video/mp2t'],
  ['mts', 'video/mp2t'],
  ['mpg', 'video/mpeg'],
  ['mpeg', 'video/mpeg'],
  ['vob', 'video/mpeg'],
  ['wmv', 'video/x-ms-wmv'],
  ['ogv', 'video/ogg'],
  ['3gp', 'video/3gpp']
])

const audioTypes: ReadonlyMap<string, string> = new Map([
  ['mp3', 'audio/mpeg'],
  ['m4a', 'audio/mp4'],
  ['m4b', 'audio/mp4'],
  ['aac', 'audio/aac'],
  ['flac', 'audio/flac'],
  ['ogg', 'audio/ogg'],
  ['oga', 'audio/ogg'],
  ['opus', 'audio/ogg'],
  ['wav', 'audio/wav'],
  ['mka', 'audio/x-matroska'],
  ['wma', 'audio/x-ms-wma']
])

/** What goes with media and is none itself: playlists name themselves audio, yet nobody watches one. */
const companionTypes: ReadonlyMap<string, string> = new Map([
  ['srt', 'application/x-subrip'],
  ['vtt', 'text/vtt'],
  ['ass', 'text/x-ssa'],
  ['ssa', 'text/x-ssa'],
  ['m3u8', 'application/vnd.apple.mpegurl'],
  ['m3u', 'audio/x-mpegurl']
])

/** Extensions of video files, lower case, without the dot. */
export const videoExtensions: ReadonlySet<string> = new Set(videoTypes.keys())

/** The Content-Type that a file name's extension stands for. */
export function contentTypeOf (name: string): string {
  const extension = extensionOf(name)
  return videoTypes.get(extension) ?? audioTypes.get(extension) ?? companionTypes.get(extension) ?? 'application/octet-stream'
}

/** The extension of video and audio files of this type, without the dot; null: it is the type of no media. */
export function extensionOfType (type: string): string | null {
  return [...videoTypes, ...audioTypes].find((entry) => entry[1] === type)?.[0] ?? null
}

/** The name is that of a video file. */
export function isVideo (name: string): boolean {
  return videoTypes.has(extensionOf(name))
}

/** The name is that of a video or audio file. */
export function isMedia (name: string): boolean {
  return isVideo(name) || audioTypes.has(extensionOf(name))
}

function extensionOf (name: string): string {
  return extname(name).slice(1).toLowerCase()
}
