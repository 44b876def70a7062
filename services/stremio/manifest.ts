import { ownPrefixes } from './protocol.ts'

export interface ManifestChoices {
  readonly version: string
  /** Where the server is reached. */
  readonly baseUrl: string
  /** This client may see what is here. */
  readonly hasCatalogs: boolean
  /** Streams of other addons are offered, whatever ids those have. */
  readonly isWrapping: boolean
}

const types = ['movie', 'series', 'other']

/** The addon as it says of itself (stremio-addon-sdk, docs/api/responses/manifest.md). Streams are HTTP, so `p2p` is false: clients without a torrent engine play them. */
export function manifestOf ({ version, baseUrl, hasCatalogs, isWrapping }: ManifestChoices): object {
  return {
    id: 'community.self-streme',
    version,
    name: 'Self-Streme',
    description: 'Torrents as HTTP streams of your own server: what is cached there, and what other addons find.',
    logo: `${baseUrl.replace(/\/+$/, '')}/assets/icon.svg`,
    resources: [
      'catalog',
      { name: 'meta', types, idPrefixes: ownPrefixes },
      isWrapping ? { name: 'stream', types: [...types, 'anime'] } : { name: 'stream', types, idPrefixes: ownPrefixes },
      { name: 'subtitles', types, idPrefixes: ownPrefixes }
    ],
    types,
    catalogs: hasCatalogs ? types.map((type) => ({ type, id: catalogId(type), name: 'Self-Streme', extra: [{ name: 'search' }, { name: 'skip' }] })) : [],
    behaviorHints: { p2p: false, configurable: true, configurationRequired: false }
  }
}

export function catalogId (type: string): string {
  return `selfstreme-${type}`
}
