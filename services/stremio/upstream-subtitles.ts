import { isModest, isRecord } from './json-record.ts'

/** Subtitles of another addon, as they came. */
export type UpstreamSubtitle = Readonly<Record<string, unknown>> & { readonly id: string, readonly url: string, readonly lang: string }

const MAX_SUBTITLES = 200

/** The subtitles in an addon's answer (stremio-addon-sdk, docs/api/responses/subtitles.md), at most 200; what is none is left out. null: it is no answer of an addon. */
export function parseSubtitles (answer: unknown): UpstreamSubtitle[] | null {
  const subtitles = isRecord(answer) ? answer['subtitles'] : null
  return Array.isArray(subtitles) ? subtitles.slice(0, MAX_SUBTITLES).flatMap((subtitle: unknown) => parseSubtitle(subtitle) ?? []) : null
}

function parseSubtitle (fields: unknown): UpstreamSubtitle | null {
  if (!isRecord(fields) || !isModest(fields)) return null
  const { id, url, lang } = fields
  if (typeof url !== 'string' || !/^https?:$/.test(URL.parse(url)?.protocol ?? '')) return null
  // Some have numbers, and clients want texts.
  return { ...fields, url, id: typeof id === 'string' || typeof id === 'number' ? String(id) : url, lang: typeof lang === 'string' && lang !== '' ? lang : 'und' }
}
