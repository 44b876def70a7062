import { createServer } from 'node:http'
import { listenOnLoopback } from './loopback.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { TestTorrent } from './testnet.ts'

export interface TestMirror {
  /** A TORRENT_METADATA_URLS template. */
  readonly metadataUrl: string
  /** A web seed (BEP 19) of the torrent, trailing slash and all. */
  readonly webSeed: string
  /** An HTTP_MIRROR_URLS template. */
  readonly mirrorUrl: string
  /** What was asked for: `path` or `path range`. */
  readonly requests: readonly string[]
}

export interface MirrorChoices {
  /** Changes a file's bytes on their way out, as a liar does. */
  readonly tamper?: (bytes: Buffer) => Buffer
  /** Called before each answer with content; may answer by itself, or wait. */
  readonly before?: (request: IncomingMessage, response: ServerResponse) => Promise<void> | void
}

/** An HTTP server on loopback with a torrent's `.torrent` and files, ranges included. */
export async function startMirror (t: Test, torrent: TestTorrent, { tamper = (bytes) => bytes, before }: MirrorChoices = {}): Promise<TestMirror> {
  const requests: string[] = []
  const { metadata } = torrent
  const files = new Map(torrent.files.map(({ path, bytes }, index) => [metadata.isMultiFile ? `${metadata.name}/${path}` : metadata.name, { bytes, index }]))

  const server = createServer((request, response) => {
    requests.push([request.url, request.headers.range].filter((part) => part !== undefined).join(' '))
    answer(request, response).catch(() => { response.destroy() })
  })
  async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://mirror')
    if (url.pathname === `/torrents/${torrent.infohash}.torrent`) {
      response.end(torrent.torrent)
      return
    }
    const byPath = files.get(decodeURIComponent(url.pathname.replace(/^\/files\//, '')))
    const byIndex = [...files.values()].find(({ index }) => url.pathname === `/by-index/${torrent.infohash}/${index}`)
    const file = byPath ?? byIndex
    if (file === undefined) {
      response.writeHead(404).end()
      return
    }
    await before?.(request, response)
    if (response.headersSent || response.destroyed) return
    const [, start = '0', end = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const from = Number(start)
    const to = end === '' ? file.bytes.length - 1 : Number(end)
    const bytes = tamper(file.bytes.subarray(from, to + 1))
    if (request.headers.range === undefined) response.writeHead(200, { 'Content-Length': bytes.length })
    else response.writeHead(206, { 'Content-Length': bytes.length, 'Content-Range': `bytes ${from}-${to}/${file.bytes.length}` })
    response.end(bytes)
  }
  const origin = await listenOnLoopback(t, server)
  return {
    metadataUrl: `${origin}/torrents/{hash}.torrent`,
    webSeed: `${origin}/files/`,
    mirrorUrl: `${origin}/by-index/{hash}/{index}`,
    requests
  }
}
