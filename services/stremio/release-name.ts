import { filenameParse } from '@ctrl/video-filename-parser'
import { episodeOf } from '../torrent/videos.ts'
import type { Episode } from '../torrent/videos.ts'

/** What the name of a release, or of a file, says. */
export interface ReleaseName {
  /** Never empty. */
  readonly title: string
  readonly year: number | null
  /** As people write it: `1080p`. */
  readonly resolution: string | null
  /** null: it names no episode. Season 0: it names none, and numbers its episodes from the first on. */
  readonly episode: Episode | null
  /** It names a whole season, or several. */
  readonly isPack: boolean
}

/** More of a name makes the parser's expressions slow, and says no more. */
const MAX_LENGTH = 200
const extension = /\.[a-z0-9]{2,4}$/i
/** All files of a torrent together: names are a stranger's, and some take milliseconds each. */
const PARSE_MS = 200

/** Reads a name as release groups write them: `Show.S01E02.1080p.WEB-DL.x264-GROUP.mkv`, `[Group] Show - 12 [1080p].mkv`, `Film (2008).mp4`. */
export function parseReleaseName (name: string): ReleaseName {
  const text = name.toWellFormed().replace(/[\p{Cc}\p{Cf}]+/gu, ' ').slice(0, MAX_LENGTH).trim()
  const film = filenameParse(text, false)
  const show = filenameParse(text, true)
  const isShow = 'isTv' in show
  const year = Number(film.year ?? 0)
  const [season = 0] = isShow ? show.seasons : []
  const [number] = isShow ? show.episodeNumbers : []
  // `Film.2008` is no eighth episode of season 20, nor `Apollo 13` the thirteenth of a show.
  const isSaid = season > 0 ? new RegExp(`(?<!\\p{L})s(?:eason)?[ ._-]*0*${season}(?!\\d)`, 'iu').test(text) : /^\[|[-–]\s*\d/.test(text)
  const episode = episodeOf(text) ?? (number === undefined || !isSaid ? null : { season, episode: number })
  const isPack = isShow && show.fullSeason && episode === null
  const title = (episode !== null || isPack) && show.title !== '' ? show.title : film.title
  return {
    title: title.replace(extension, '').trim() || text.replace(extension, '') || 'Unnamed',
    year: year > 1880 ? year : null,
    resolution: film.resolution?.toLowerCase() ?? null,
    episode,
    isPack
  }
}

/** Season and episode of a file, by its name, else by its number in a folder that names the season: `Season 2/03 - Pilot.mkv`. */
export function episodeOfFile (path: string): Episode | null {
  const parts = path.slice(-1000).split('/')
  const name = parts.at(-1) ?? ''
  const folder = parts.slice(0, -1).findLast((part) => /^(?:season|series|staffel|saison|temporada|עונה|s)[ ._-]*\d{1,2}$/iu.test(part.trim()))
  const season = /(\d{1,2})$/.exec(folder?.trim() ?? '')?.[1]
  // The usual forms are found a thousand times as fast.
  const own = episodeOf(name.slice(0, MAX_LENGTH)) ?? parseReleaseName(name).episode
  if (own !== null) return season !== undefined && own.season === 0 ? { ...own, season: Number(season) } : own
  const [, number] = /^(?:e|ep|episode)?[ ._-]*(\d{1,3})(?!\d|p\b)/i.exec(name) ?? []
  return number === undefined || (season === undefined && !/^(?:e|ep|episode)/i.test(name)) ? null : { season: Number(season ?? 1), episode: Number(number) }
}

/** `episodeOfFile` of each of these paths; after 200 ms only the usual forms (`S01E02`, `1x02`) are looked for in what is left. */
export function episodesOfFiles (paths: readonly string[]): ReadonlyArray<Episode | null> {
  const endAt = performance.now() + PARSE_MS
  return paths.map((path) => performance.now() < endAt ? episodeOfFile(path) : episodeOf(path.slice(path.lastIndexOf('/') + 1).slice(0, MAX_LENGTH)))
}
