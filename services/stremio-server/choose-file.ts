import { Script } from 'node:vm'
import { CodedError } from '../errors.ts'
import { isMedia } from '../http/content-type.ts'
import { episodesOfFiles } from '../stremio/release-name.ts'
import { episodeOf } from '../torrent/videos.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { Episode } from '../torrent/videos.ts'

/** What a client wants to see, where it does not know which file that is. */
export interface Guess {
  readonly season?: number | null
  readonly episode?: number | null
  /** Of each file name one of these is a part, or matches it where it is written `/regex/i`. */
  readonly mustInclude?: readonly string[]
}

type Files = Pick<Metadata, 'files'>

const MAX_PARSED = 1000
/** By expressions: no pack has more. */
const MAX_MATCHED = 2000
const MAX_PATTERNS = 20
const MAX_PATTERN_LENGTH = 300
const MAX_NAME_LENGTH = 300
/** All names and expressions together: expressions are a stranger's, and some take for ever. */
const MATCH_MS = 100
/** After one that did, expressions are left alone: strangers would else have half of the server's time. */
const REST_MS = 5000
const isExpression = /^\/(.+)\/([a-z]*)$/

/**
 * The file to play: of the media files that `mustInclude` leaves the largest, and where season and episode are given of
 * those the names of which have them. null: there is none.
 */
export function guessFile (metadata: Files, { season = null, episode = null, mustInclude = [] }: Guess): TorrentFile | null {
  const media = metadata.files.filter(({ isPadding, lengthBytes, name }) => !isPadding && lengthBytes > 0 && isMedia(name))
  const named = including(media, mustInclude)
  const wanted = season === null || episode === null ? named : ofEpisode(named, { season, episode })
  return wanted.reduce<TorrentFile | null>((best, file) => best === null || file.lengthBytes > best.lengthBytes ? file : best, null)
}

/** By the usual forms where that finds any; whatever else names may have takes longer to read. */
function ofEpisode (files: readonly TorrentFile[], { season, episode }: Episode): readonly TorrentFile[] {
  const isIt = (found: Episode | null): boolean => found !== null && found.season === season && found.episode === episode
  const usual = files.filter(({ name }) => isIt(episodeOf(name.slice(0, 1000))))
  if (usual.length > 0) return usual
  const others = files.slice(0, MAX_PARSED)
  const found = episodesOfFiles(others.map(({ path }) => path))
  return others.filter((_, i) => isIt(found[i] ?? null))
}

/**
 * The file of this path or name: the path in the torrent, with the torrent's own folder or without, else the name alone,
 * of a path in another folder only where no two files have it.
 * Throws FILE_INDEX where there is none.
 */
export function fileNamed (metadata: Files & Pick<Metadata, 'name'>, path: string): TorrentFile {
  const offered = metadata.files.filter(({ isPadding }) => !isPadding)
  const inside = path.startsWith(`${metadata.name}/`) ? path.slice(metadata.name.length + 1) : path
  const last = path.slice(path.lastIndexOf('/') + 1)
  const named = offered.filter(({ name }) => name === last)
  const file = offered.find((file) => file.path === path || file.path === inside) ?? (last === path || named.length === 1 ? named[0] : undefined)
  if (file === undefined) throw new CodedError('FILE_INDEX', `this torrent has no file ${JSON.stringify(path.slice(0, 200))}`)
  return file
}

/** Those whose name includes one of these; all where there are none, or where none can be read or matches. */
function including (files: readonly TorrentFile[], patterns: readonly string[]): readonly TorrentFile[] {
  const usable = patterns.slice(0, MAX_PATTERNS).filter(({ length }) => length > 0 && length <= MAX_PATTERN_LENGTH)
  if (usable.length === 0) return files
  const names = files.map(({ name }) => name.slice(0, MAX_NAME_LENGTH))
  const texts = usable.filter((pattern) => !isExpression.test(pattern))
  const matches = matching(names.slice(0, MAX_MATCHED), usable.flatMap((pattern) => {
    const [, source = '', flags = ''] = isExpression.exec(pattern) ?? []
    return source === '' ? [] : [{ source, flags: flags.replace(/[^imsu]/g, '') }]
  }))
  const found = files.filter((_, i) => matches[i] === true || texts.some((text) => names[i]?.includes(text) === true))
  return found.length > 0 ? found : files
}

/** In a context of their own, because only there the engine can be stopped in the middle of a match. */
function matching (names: readonly string[], expressions: ReadonlyArray<{ readonly source: string, readonly flags: string }>): readonly unknown[] {
  if (expressions.length === 0 || performance.now() < restsUntil) return []
  const endAt = performance.now() + MATCH_MS
  try {
    const given = JSON.stringify({ names, expressions })
    const answer: unknown = new Script(`JSON.stringify((${matcher})(JSON.parse(${JSON.stringify(given)})))`).runInNewContext({}, { timeout: MATCH_MS })
    const parsed: unknown = JSON.parse(String(answer))
    return Array.isArray(parsed) ? parsed : []
  } catch {
    // Too slow, or no regular expression: as if it had not been asked for, the largest file is a good guess.
    if (performance.now() >= endAt) restsUntil = performance.now() + REST_MS
    return []
  }
}

let restsUntil = 0

const matcher = `({ names, expressions }) => {
  const all = expressions.map(({ source, flags }) => new RegExp(source, flags))
  return names.map((name) => all.some((each) => each.test(name)))
}`
