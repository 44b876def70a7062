import { ownPrefixes } from './protocol.ts'
import { joinOffers } from './upstream-manifest.ts'
import type { Offer, UpstreamManifest } from './upstream-manifest.ts'

export interface ManifestChoices {
  readonly version: string
  /** Where the server is reached. */
  readonly baseUrl: string
  /** This client may see what is here. */
  readonly hasCatalogs: boolean
  /** Of the addons whose streams are offered, too; null: one that could not be read. */
  readonly upstreams: ReadonlyArray<UpstreamManifest | null>
}

const types = ['movie', 'series', 'other']

/** The addon as it says of itself (stremio-addon-sdk, docs/api/responses/manifest.md). Streams are HTTP, so `p2p` is false: clients without a torrent engine play them. */
export function manifestOf ({ version, baseUrl, hasCatalogs, upstreams }: ManifestChoices): object {
  return {
    id: 'community.self-streme',
    version,
    name: 'Self-Streme',
    description: 'Torrents as HTTP streams of your own server: what is cached there, and what other addons find.',
    logo: `${baseUrl.replace(/\/+$/, '')}/assets/icon.svg`,
    resources: [
      'catalog',
      { name: 'meta', types, idPrefixes: ownPrefixes },
      { name: 'stream', ...offerOf(upstreams.map((upstream) => upstream?.streams ?? anything)) },
      { name: 'subtitles', ...offerOf(upstreams.map((upstream) => upstream?.subtitles ?? [])) }
    ],
    types,
    catalogs: hasCatalogs ? types.map((type) => ({ type, id: catalogId(type), name: 'Self-Streme', extra: [{ name: 'search' }, { name: 'skip' }] })) : [],
    behaviorHints: { p2p: false, configurable: true, configurationRequired: false }
  }
}

/** What an addon may have of which nobody knows. */
const anything: readonly Offer[] = [{ types: [...types, 'anime'], idPrefixes: null }]

/** Our own, and what these offer. */
function offerOf (others: ReadonlyArray<readonly Offer[]>): object {
  const { types: all = types, idPrefixes = null } = joinOffers([{ types, idPrefixes: ownPrefixes }, ...others.flat()]) ?? {}
  return { types: all, ...idPrefixes === null ? {} : { idPrefixes } }
}

export function catalogId (type: string): string {
  return `selfstreme-${type}`
}
