import { parseWish } from '../stremio/wished-file.ts'
import type { Wish } from '../stremio/wished-file.ts'

/** A file of this server, as an address of it names it. */
export interface OwnFile {
  readonly infoHash: string
  /** The index, `-1`, or the first part of a path; empty: the default file. */
  readonly idx: string
  readonly rest: string
  readonly tr: readonly string[]
  readonly f: readonly string[]
  /** What to choose without an index. */
  readonly wish: Wish | null
}

const hash = '([0-9a-fA-F]{40}|[a-zA-Z2-7]{32})'
/** Each with the infohash, then the file; behind it what is left of a path in the torrent. */
const forms = [
  new RegExp(`^/stream/proxy/${hash}$`),
  new RegExp(`^/stream/${hash}/(\\d{1,15})/[^/]*$`),
  new RegExp(`^/api/torrents/${hash}/subtitles/(\\d{1,15})(?:\\.vtt)?$`),
  /^\/([0-9a-fA-F]{40})\/(?!(?:stats\.json|create|remove)$)([^/]+)(?:\/(.*))?$/
]

/**
 * What an address is: a file of this server; `own`: something else of this server; `foreign`: of another one, with its URL.
 * `none`: no http(s) address. An address without a host is of this server.
 *
 * @param bases the addresses that this server is reached at.
 */
export function ownFileOf (address: string, bases: readonly [string, ...string[]]): OwnFile | 'own' | 'none' | { readonly foreign: URL } {
  const url = URL.parse(address, bases[0])
  if (url === null || !/^https?:$/.test(url.protocol)) return 'none'
  const base = bases.map((each) => URL.parse(each)).find((each) => each?.host === url.host)
  if (base == null) return { foreign: url }
  const prefix = base.pathname.replace(/\/+$/, '')
  const inside = url.pathname.startsWith(`${prefix}/`) ? url.pathname.slice(prefix.length) : url.pathname
  const path = inside.replace(/^\/t\/[^/]+(?=\/)/, '')
  for (const form of forms) {
    const [, infoHash, idx, rest] = form.exec(path) ?? []
    if (infoHash === undefined) continue
    return {
      infoHash,
      idx: decoded(idx ?? url.searchParams.get('fileIndex') ?? ''),
      rest: decoded(rest ?? ''),
      tr: url.searchParams.getAll('tr'),
      f: url.searchParams.getAll('f'),
      wish: parseWish({ episode: url.searchParams.get('episode') ?? '', fileName: url.searchParams.get('fileName') ?? '' })
    }
  }
  return 'own'
}

function decoded (part: string): string {
  try {
    return decodeURIComponent(part)
  } catch {
    return part
  }
}
