import type { Metadata, TorrentFile } from '../torrent/metadata.ts'

/** Where the files of one torrent can be had over HTTP. */
export interface Mirror {
  /** For people: the host. */
  readonly name: string
  /** The operator configured it, so the address guard does not ask about it. */
  readonly isTrusted: boolean
  /** Where the file is; null when this mirror cannot have it. */
  urlFor (file: TorrentFile): URL | null
}

/**
 * The torrent's web seeds (BEP 19 `url-list`) and further ones (`ws` and `as` of a magnet), each once.
 * Whether a seed is a file or a folder is told by the torrent (`isMultiFile`), never by the number of its files.
 */
export function webSeedMirrors (metadata: Metadata, extraWebSeeds: readonly string[]): Mirror[] {
  const seeds = new Set([...metadata.webSeeds, ...extraWebSeeds])
  return [...seeds].flatMap((seed) => {
    const root = httpUrl(seed)
    if (root === null) return []
    return [{ name: root.host, isTrusted: false, urlFor: (file: TorrentFile) => webSeedUrl(seed, file, metadata) }]
  })
}

/**
 * The operator's own mirrors. In each template `{hash}` and `{HASH}` are the infohash in either case, `{index}` the
 * file's number from 0, `{index1}` from 1, `{path}` its path inside the torrent (without the torrent's own name) and
 * `{name}` the last part of that; path and name are percent-encoded.
 */
export function templateMirrors (templates: readonly string[], metadata: Pick<Metadata, 'infohash'>): Mirror[] {
  return templates.flatMap((template) => {
    const example = httpUrl(expand(template, { hash: metadata.infohash, HASH: metadata.infohash, index: '0', index1: '1', path: 'x', name: 'x' }))
    if (example === null) return []
    return [{ name: example.host, isTrusted: true, urlFor: (file: TorrentFile) => templateUrl(template, file, metadata.infohash) }]
  })
}

/** Puts values into `{name}` places. What has no value stays as it is. */
export function expand (template: string, values: Readonly<Record<string, string>>): string {
  return template.replace(/\{(\w+)\}/g, (place, name: string) => Object.hasOwn(values, name) ? values[name] ?? '' : place)
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

function httpUrl (text: string): URL | null {
  const url = URL.parse(text)
  return url !== null && (url.protocol === 'http:' || url.protocol === 'https:') ? url : null
}
