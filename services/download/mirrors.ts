import { selectFile } from '../torrent/file-selection.ts'
import { MirrorFault } from './mirror.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import type { Mirror } from './mirror.ts'

const TRUST = /^trusted:/i

/**
 * The torrent's web seeds (BEP 19 `url-list`) and further ones (`ws` of a magnet), each once.
 * Whether a seed is a file or a folder is told by the torrent (`isMultiFile`), never by the number of its files.
 */
export function webSeedMirrors (metadata: Metadata, extraWebSeeds: readonly string[]): Mirror[] {
  const seeds = new Set([...metadata.webSeeds, ...extraWebSeeds])
  return [...seeds].flatMap((seed) => {
    const root = httpUrl(seed)
    if (root === null) return []
    return [rangeMirror(root.host, false, (file) => webSeedUrl(seed, file, metadata))]
  })
}

/**
 * Direct URLs of the content (`as` of a magnet). In a folder such a URL is the file that it ends with the name of, or
 * the file that people mean; with a slash at its end it is a folder, and the same as a web seed.
 */
export function directMirrors (metadata: Metadata, acceptableSources: readonly string[]): Mirror[] {
  return acceptableSources.flatMap((source) => {
    if (source.endsWith('/')) return webSeedMirrors({ ...metadata, webSeeds: [] }, [source])
    const url = httpUrl(source)
    if (url === null) return []
    const file = metadata.files.find(({ name, isPadding }) => !isPadding && name === lastSegmentOf(url)) ?? selectFile(metadata, null)
    return [rangeMirror(url.host, false, ({ index }) => index === file.index ? url : null)]
  })
}

/**
 * The operator's own mirrors. In each template `{hash}` and `{HASH}` are the infohash in either case, `{index}` the
 * file's number from 0, `{index1}` from 1, `{path}` its path inside the torrent (without the torrent's own name) and
 * `{name}` the last part of that; path and name are percent-encoded. A mark `trusted:` before one makes no difference here.
 */
export function templateMirrors (templates: readonly string[], metadata: Pick<Metadata, 'infohash'>): Mirror[] {
  return templates.map((template) => template.replace(TRUST, '')).flatMap((template) => {
    const example = httpUrl(expand(template, { hash: metadata.infohash, HASH: metadata.infohash, index: '0', index1: '1', path: 'x', name: 'x' }))
    if (example === null) return []
    return [rangeMirror(example.host, true, (file) => templateUrl(template, file, metadata.infohash))]
  })
}

/**
 * Where the operator lets an unverified copy be taken from when there is no `.torrent`: the templates marked `trusted:`
 * that say enough without one. A request for a file by its number goes to those with `{index}` or `{index1}`, one for the
 * default file to those that name no file; `{path}` and `{name}` are known to nobody then.
 */
export function trustedUrls (templates: readonly string[], infohash: string, fileIndex: number | null): URL[] {
  const values = { hash: infohash, HASH: infohash.toUpperCase(), ...(fileIndex === null ? {} : { index: String(fileIndex), index1: String(fileIndex + 1) }) }
  return templates.flatMap((template) => {
    if (!TRUST.test(template) || /\{(?:path|name)\}/.test(template) || /\{index1?\}/.test(template) !== (fileIndex !== null)) return []
    return httpUrl(expand(template.replace(TRUST, ''), values)) ?? []
  })
}

/** Puts values into `{name}` places. What has no value stays as it is. */
export function expand (template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (place, name: string) => Object.hasOwn(values, name) ? values[name] ?? '' : place)
}

/** A mirror with one URL for each file, which answers ranges. `urlFor` gives null for a file that it cannot have. */
function rangeMirror (name: string, isTrusted: boolean, urlFor: (file: TorrentFile) => URL | null): Mirror {
  return {
    name,
    mayHave: (file) => urlFor(file) !== null,
    async request ({ file, start, end }) {
      const url = urlFor(file)
      if (url === null) throw new MirrorFault({ kind: 'not-here', why: 'it cannot have this file' }, file)
      return { url, isTrusted, headers: { range: `bytes=${start}-${end}` }, end, reply: 'range' }
    }
  }
}

function webSeedUrl (seed: string, file: TorrentFile, { name, isMultiFile }: Metadata): URL | null {
  if (!isMultiFile && !seed.endsWith('/')) return httpUrl(seed)
  const path = encodePath(isMultiFile ? [name, ...file.components] : [name])
  return path === null ? null : httpUrl(`${seed}${seed.endsWith('/') ? '' : '/'}${path}`)
}

function templateUrl (template: string, file: TorrentFile, infohash: string): URL | null {
  const path = encodePath(file.components)
  const name = encodePath([file.name])
  if ((path === null && template.includes('{path}')) || (name === null && template.includes('{name}'))) return null
  const values = { hash: infohash, HASH: infohash.toUpperCase(), index: String(file.index), index1: String(file.index + 1), path: path ?? '', name: name ?? '' }
  return httpUrl(expand(template, values))
}

/** Null for a path that a URL cannot say: `.` and `..` are resolved away, percent-encoded too (WHATWG URL, path state). */
function encodePath (components: readonly string[]): string | null {
  if (components.some((component) => component === '.' || component === '..')) return null
  return components.map((component) => encodeURIComponent(component.toWellFormed())).join('/')
}

/** The name of the file that a URL ends with, decoded; null: it has none that can be read. */
export function lastSegmentOf ({ pathname }: URL): string | null {
  try {
    return decodeURIComponent(pathname.split('/').at(-1) ?? '') || null
  } catch {
    return null
  }
}

function httpUrl (text: string): URL | null {
  const url = URL.parse(text)
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:') ? url : null
}
