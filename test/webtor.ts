import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { parseMagnet } from '../services/torrent/magnet.ts'
import { parseMetadata } from '../services/torrent/metadata.ts'
import { listenOnLoopback } from './loopback.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { Metadata } from '../services/torrent/metadata.ts'

export type Asked = 'add' | 'torrent' | 'list' | 'export' | 'content'

export interface WebtorChoices {
  /** `older`: no sizes and numbers of a resource, no number as content id (as rest-api had it until the end of 2025). */
  readonly variant?: 'current' | 'older'
  /** What X-Token and X-Api-Key have to be; they are in the URLs that it gives out, too. */
  readonly token?: string
  readonly apiKey?: string
  /** Begins the URLs that it gives out; `''`: they begin with the path. */
  readonly domain?: string
  /** Called before each answer, with what is asked and how often that was asked; may answer by itself, or wait. */
  readonly before?: (asked: Asked, count: number, response: ServerResponse, body: Buffer) => Promise<void> | void
}

export interface TestWebtor {
  /** WEBTOR_URL. */
  readonly url: string
  /** `METHOD path range`, without the query. */
  readonly requests: readonly string[]
  /** What was posted. */
  readonly posted: readonly Buffer[]
  readonly counts: Readonly<Record<Asked, number>>
  /** From now on the URLs given out so far are answered with this status. */
  expire (status?: number): void
}

interface Item {
  readonly id: string
  readonly name: string
  readonly path: string
  readonly type: 'file' | 'directory'
  readonly size: number
  readonly index?: number
}

/** The WebTor.io REST API and its torrent-http-proxy on one loopback port, with the bodies that it documents. */
export async function startWebtor (t: Test, { metadata, files }: { readonly metadata: Metadata, readonly files: readonly Buffer[] }, choices: WebtorChoices = {}): Promise<TestWebtor> {
  const { variant = 'current', token, apiKey, before } = choices
  const requests: string[] = []
  const posted: Buffer[] = []
  const counts = { add: 0, torrent: 0, list: 0, export: 0, content: 0 }
  const items = itemsOf(metadata)
  let isKnown = false
  let expired = { before: 0, status: 403 }

  const server = createServer((request, response) => {
    requests.push([request.method, request.url?.split('?')[0], request.headers.range].filter((part) => part !== undefined).join(' '))
    answer(request, response).catch(() => { response.destroy() })
  })

  async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    const url = new URL(request.url ?? '/', origin)
    const json = (status: number, value: unknown, headers = {}): void => { response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers }).end(JSON.stringify(value)) }
    const [asked, contentId = ''] = whatIs(request.method, url.pathname, metadata.infohash)
    if (asked === null) {
      if (url.pathname === '/resource') response.writeHead(307, { location: '/resource/' }).end()
      else json(404, { error: 'not found' })
      return
    }
    if (asked === 'add') posted.push(body)
    const count = ++counts[asked]
    await before?.(asked, count, response, body)
    if (response.headersSent || response.destroyed) return
    if (asked === 'content') {
      content(url, request, response)
      return
    }
    if ((token !== undefined && request.headers['x-token'] !== token) || (apiKey !== undefined && request.headers['x-api-key'] !== apiKey)) return json(403, { error: `forbidden token=${String(request.headers['x-token'])}` })
    if (asked === 'add') {
      const infohash = infohashIn(body)
      if (infohash === null) return json(400, { error: 'failed to parse torrent' })
      if (infohash !== metadata.infohash) return json(408, { error: 'magnet timeout' })
      isKnown = true
      return json(200, { id: infohash, name: metadata.name, magnet_uri: `magnet:?xt=urn:btih:${infohash}`, ...(variant === 'current' ? { multi_file: metadata.isMultiFile, size: metadata.lengthBytes, files_count: files.length } : {}) })
    }
    if (!isKnown) return json(404, { error: `not found sha1=${metadata.infohash}` })
    if (asked === 'torrent') {
      response.writeHead(200, { 'content-type': 'application/x-bittorrent' }).end(metadata.torrent)
      return
    }
    const shown = items.map(({ index, ...item }) => variant === 'current' && item.type === 'file' ? { ...item, index } : item)
    if (asked === 'list') {
      const [limit, offset] = [Number(url.searchParams.get('limit') ?? 1000), Number(url.searchParams.get('offset') ?? 0)]
      if (!(limit >= 1 && limit <= 1000)) return json(400, { error: 'failed to parse limit' })
      return json(200, { id: 'root', path: '/', type: 'directory', size: metadata.lengthBytes, items: shown.slice(offset, offset + limit), items_count: shown.length })
    }
    if (!(url.searchParams.get('types') ?? 'download').split(',').every((type) => ['download', 'stream'].includes(type))) return json(400, { error: 'failed to parse type' })
    const isNumber = /^\d+$/.test(contentId)
    if (isNumber && variant === 'current' && Number(contentId) >= files.length) return json(500, { error: `file idx ${contentId} out of range` })
    const item = items.find(({ id, index }) => isNumber && variant === 'current' ? index === Number(contentId) : id === contentId)
    if (item === undefined) return json(404, { error: `content with id ${contentId} not found` })
    const query = new URLSearchParams({ ...(apiKey === undefined ? {} : { 'api-key': apiKey }), token: token ?? '', given: String(Date.now() + counts.export), download: 'true' })
    given.push(query.get('given') ?? '')
    const path = `/torrent-http-proxy/${metadata.infohash}${item.path.split('/').map(encodeURIComponent).join('/')}`
    json(200, { source: shown.find(({ id }) => id === item.id), exports: { download: { url: `${choices.domain ?? origin}${path}?${query.toString()}` } } })
  }

  const given: string[] = []

  function content (url: URL, request: IncomingMessage, response: ServerResponse): void {
    const item = items.find(({ path, type }) => type === 'file' && url.pathname === `/torrent-http-proxy/${metadata.infohash}${path.split('/').map(encodeURIComponent).join('/')}`)
    const bytes = files[item?.index ?? -1]
    if (bytes === undefined) {
      response.writeHead(404).end()
      return
    }
    const place = given.indexOf(url.searchParams.get('given') ?? '')
    if (url.searchParams.get('token') !== (token ?? '') || place === -1 || place < expired.before) {
      response.writeHead(expired.status).end('forbidden')
      return
    }
    const [, start = '0', end = String(bytes.length - 1)] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    const part = bytes.subarray(Number(start), Number(end) + 1)
    const status = request.headers.range === undefined ? 200 : 206
    response.writeHead(status, { 'content-length': part.length, ...(status === 206 ? { 'content-range': `bytes ${start}-${Number(start) + part.length - 1}/${bytes.length}` } : {}) }).end(part)
  }

  const origin = await listenOnLoopback(t, server)
  return { url: origin, requests, posted, counts, expire: (status = 403) => { expired = { before: given.length, status } } }
}

function whatIs (method: string | undefined, path: string, infohash: string): [Asked | null, string?] {
  if (method === 'POST') return [path === '/resource/' ? 'add' : null]
  if (path.startsWith('/torrent-http-proxy/')) return ['content']
  if (path === `/resource/${infohash}.torrent`) return ['torrent']
  if (path === `/resource/${infohash}/list`) return ['list']
  const contentId = new RegExp(`^/resource/${infohash}/export/([^/]+)$`).exec(path)?.[1]
  return contentId === undefined ? [null] : ['export', contentId]
}

/** Every folder before what is in it, as `output=list` has them. */
function itemsOf (metadata: Metadata): Item[] {
  const items = new Map<string, Item>()
  const add = (path: string, more: Omit<Item, 'id' | 'name' | 'path'>): void => {
    if (!items.has(path)) items.set(path, { id: createHash('sha1').update(path).digest('hex'), name: path.split('/').at(-1) ?? '', path, ...more })
  }
  for (const { components, lengthBytes, index, isPadding } of metadata.files) {
    if (isPadding) continue
    const parts = metadata.isMultiFile ? [metadata.name, ...components] : [metadata.name]
    for (let i = 1; i < parts.length; i++) add(`/${parts.slice(0, i).join('/')}`, { type: 'directory', size: 0 })
    add(`/${parts.join('/')}`, { type: 'file', size: lengthBytes, index })
  }
  return [...items.values()]
}

function infohashIn (body: Buffer): string | null {
  try {
    return body[0] === 0x64 ? parseMetadata(body).infohash : parseMagnet(body.toString()).infohash
  } catch {
    return null
  }
}
