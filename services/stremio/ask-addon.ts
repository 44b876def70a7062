import { viaOf } from '../download/via.ts'
import { CodedError } from '../errors.ts'
import type { Fetcher } from '../download/fetcher.ts'

/** Another addon whose torrents are offered as streams of this server. */
export interface UpstreamAddon {
  /** Of its manifest. */
  readonly url: string
  /** The operator named it: it may be in his own network. */
  readonly isTrusted: boolean
}

export interface AskOptions {
  readonly fetcher: Pick<Fetcher, 'get'>
  /** The servers that the client's own request came through, and the name of this one (services/download/via.ts). */
  readonly hops: readonly string[]
  readonly hop: string
  readonly mostBytes: number
  readonly signal: AbortSignal
}

/** What is at the place of the manifest's last part: `manifest.json`, `stream/movie/tt1.json`. null: the address is none of a manifest. */
export function addonUrl (manifest: string, path: string): URL | null {
  const url = URL.parse(manifest.replace(/^stremio:/i, 'https:'))
  if (url === null || !url.pathname.endsWith('/manifest.json')) return null
  url.pathname = `${url.pathname.slice(0, -'manifest.json'.length)}${path}`
  return url
}

/**
 * The JSON that an addon answers with; undefined: it says that there is none (404). Throws METADATA_INVALID for what is no
 * JSON or too long, SOURCE_FAILED for another status, what the fetcher throws, or the signal's reason.
 */
export async function askAddon ({ url, isTrusted }: UpstreamAddon, path: string, { fetcher, hops, hop, mostBytes, signal }: AskOptions): Promise<unknown> {
  const target = addonUrl(url, path)
  if (target === null) throw new CodedError('METADATA_INVALID', 'its address is none of a manifest')
  const reply = await fetcher.get(target, { isTrusted, signal, headers: { accept: 'application/json', via: viaOf(hops, hop) } })
  try {
    if (reply.status === 404) return undefined
    if (reply.status !== 200) throw new CodedError('SOURCE_FAILED', `it answered ${reply.status}`)
    const chunks: Buffer[] = []
    let length = 0
    for await (const chunk of reply.body) {
      length += chunk.length
      if (length > mostBytes) throw new CodedError('METADATA_INVALID', `its answer has more than ${mostBytes} bytes`)
      chunks.push(chunk)
    }
    return parseJson(Buffer.concat(chunks).toString())
  } finally {
    reply.discard()
  }
}

function parseJson (text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new CodedError('METADATA_INVALID', 'its answer is no JSON', { cause: error })
  }
}
