import { wishQuery } from './stremio/wished-file.ts'
import type { Wish } from './stremio/wished-file.ts'

/** A file of another torrent that may play in place of the one that was asked for. */
export interface Alternative {
  readonly infohash: string
  readonly fileIndex: number | null
}

/** Where clients find what; all links in answers are made here. */
export interface Links {
  /**
   * The file: the default one without `fileIndex`. With a name the URL ends in it, for players that go by extensions. `isForAddon`: a
   * start that fails is told by a short video (`notice=1`). `alternatives`: what to try then (`alt=HASH:IDX`). `wish`: what to
   * choose, without `fileIndex`, once the files are known.
   */
  stream (infohash: string, choice?: { readonly fileIndex?: number | null, readonly name?: string, readonly trackers?: readonly string[], readonly isForAddon?: boolean, readonly alternatives?: readonly Alternative[], readonly wish?: Wish }): string
  /** Why it plays or does not. */
  status (infohash: string): string
  torrent (infohash: string): string
  playlist (infohash: string, fileIndex?: number | null): string
  /** A subtitle file as it is, or as WebVTT. */
  subtitle (infohash: string, fileIndex: number, choice?: { readonly isWebVtt?: boolean }): string
}

/** What lets those in who follow a link. */
export interface Grant {
  /** Before each path: a secret path that its asker has, without a slash at the end. */
  readonly prefix?: string
  /** The query that opens this torrent; empty: none. */
  readonly queryFor?: (infohash: string) => string
}

/**
 * The links of this server as seen from `baseUrl`: `http://host:port`, perhaps with a path; null or empty for links that are
 * relative to the server.
 */
export function linksFrom (baseUrl: string | null, { prefix = '', queryFor = () => '' }: Grant = {}): Links {
  const base = `${baseUrl?.replace(/\/+$/, '') ?? ''}${prefix}`
  const withQuery = (path: string, infohash: string, query: readonly string[] = []): string => {
    const all = [...query, queryFor(infohash)].filter((part) => part !== '')
    return `${base}${path}${all.length === 0 ? '' : `?${all.join('&')}`}`
  }
  return {
    stream (infohash, { fileIndex = null, name, trackers = [], isForAddon = false, alternatives = [], wish } = {}) {
      const path = fileIndex !== null && name !== undefined
        ? `/stream/${infohash}/${fileIndex}/${encodeURIComponent(lastName(name))}`
        : `/stream/proxy/${infohash}`
      const query = [
        ...fileIndex !== null && name === undefined ? [`fileIndex=${fileIndex}`] : [],
        ...wish === undefined || (fileIndex !== null && alternatives.every((other) => other.fileIndex !== null)) ? [] : wishQuery(wish),
        ...trackers.map((tracker) => `tr=${encodeURIComponent(tracker)}`),
        ...isForAddon ? ['notice=1'] : [],
        ...alternatives.map(({ infohash, fileIndex }) => `alt=${infohash}${fileIndex === null ? '' : `:${fileIndex}`}`)
      ]
      return withQuery(path, infohash, query)
    },
    status: (infohash) => withQuery(`/stream/status/${infohash}`, infohash),
    torrent: (infohash) => withQuery(`/api/torrents/${infohash}`, infohash),
    playlist: (infohash, fileIndex = null) => withQuery(`/stream/proxy/${infohash}/playlist.m3u`, infohash, fileIndex === null ? [] : [`fileIndex=${fileIndex}`]),
    subtitle: (infohash, fileIndex, { isWebVtt = false } = {}) => withQuery(`/api/torrents/${infohash}/subtitles/${fileIndex}${isWebVtt ? '.vtt' : ''}`, infohash)
  }
}

/** Long names are cut before their extension: routers and players have limits, and only the extension counts. */
function lastName (name: string): string {
  const clean = name.toWellFormed().replace(/[\p{Cc}\p{Cf}/\\]/gu, '_')
  // `.` and `..` would be taken for folders.
  if (clean === '' || /^\.+$/.test(clean)) return 'file'
  // The cut may go through a character of two halves.
  return clean.length <= 150 ? clean : (clean.slice(0, 120) + clean.slice(-30)).toWellFormed()
}
