import { isRecord } from './json-record.ts'

/** What a resource of an addon answers. */
export interface Offer {
  readonly types: readonly string[]
  /** null: any id. */
  readonly idPrefixes: readonly string[] | null
}

/** What is gone by of another addon's manifest (stremio-addon-sdk, docs/api/responses/manifest.md). */
export interface UpstreamManifest {
  /** For people; of one line. */
  readonly name: string
  readonly streams: readonly Offer[]
  readonly subtitles: readonly Offer[]
}

const MAX_NAME = 100
const MAX_ENTRIES = 100
/** Together; our own manifest may have 8 KB. */
const MAX_TYPES = 20
const MAX_PREFIXES = 40
const MAX_WORD = 40
/** Of what is gone by. */
const MAX_KEPT = 200

/** null: it is no manifest of an addon. */
export function parseManifest (value: unknown): UpstreamManifest | null {
  if (!isRecord(value)) return null
  const { id, name, resources } = value
  if (typeof id !== 'string' || typeof name !== 'string' || !Array.isArray(resources)) return null
  const types = wordsOf(value['types']) ?? []
  const idPrefixes = wordsOf(value['idPrefixes'])
  const offersOf = (wanted: string): Offer[] => resources.slice(0, MAX_ENTRIES).flatMap((resource: unknown) => {
    if (resource === wanted) return [{ types, idPrefixes }]
    if (!isRecord(resource) || resource['name'] !== wanted) return []
    return [{ types: wordsOf(resource['types']) ?? types, idPrefixes: wordsOf(resource['idPrefixes']) ?? idPrefixes }]
  })
  return { name: name.toWellFormed().replace(/[\p{Cc}\p{Cf}\s]+/gu, ' ').trim().slice(0, MAX_NAME) || id.slice(0, MAX_NAME), streams: offersOf('stream'), subtitles: offersOf('subtitles') }
}

/** Does one of these offers answer for this? */
export function isOffered (offers: readonly Offer[], type: string, id: string): boolean {
  return offers.some(({ types, idPrefixes }) => types.includes(type) && (idPrefixes === null || idPrefixes.some((prefix) => id.startsWith(prefix))))
}

/** One offer for all of these, small enough for a manifest; null: there are none. */
export function joinOffers (offers: readonly Offer[]): Offer | null {
  if (offers.length === 0) return null
  const prefixes = offers.some(({ idPrefixes }) => idPrefixes === null) ? null : [...new Set(offers.flatMap(({ idPrefixes }) => idPrefixes ?? []))]
  return {
    types: [...new Set(offers.flatMap(({ types }) => types))].filter(isShort).slice(0, MAX_TYPES),
    idPrefixes: prefixes === null || prefixes.length > MAX_PREFIXES || !prefixes.every(isShort) ? null : prefixes
  }
}

/** null: no list; an empty one of ids limits nothing. */
function wordsOf (value: unknown): string[] | null {
  if (!Array.isArray(value)) return null
  const words = value.slice(0, MAX_ENTRIES).filter((word) => typeof word === 'string' && word !== '' && word.length <= MAX_KEPT)
  return words.length === 0 ? null : words
}

function isShort (word: string): boolean {
  return word.length <= MAX_WORD
}
