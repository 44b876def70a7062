import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { encode } from '../../../services/torrent/bencode.ts'
import { Fetcher } from '../../../services/download/fetcher.ts'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'
import type { RequestListener } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Test } from 'tap'

export interface Origin {
  readonly url: URL
  /** What was asked for, in order: `path` or `path range`. */
  readonly requests: string[]
  /** The connections that are open. */
  readonly sockets: Set<Socket>
  /** How many connections there ever were. */
  connections (): number
}

/** A loopback server that counts its connections and requests. */
export async function serve (t: Test, listener: RequestListener): Promise<Origin> {
  const requests: string[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((request, response) => {
    requests.push([request.url, request.headers.range].filter((part) => part !== undefined).join(' '))
    listener(request, response)
  })
  server.on('connection', (socket) => {
    connections++
    sockets.add(socket)
    socket.on('close', () => { sockets.delete(socket) })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`), requests, sockets, connections: () => connections }
}

/** Resolves when these sockets are closed. One that is reset says 'error' first, which `once` takes for its own failure. */
export async function closed (sockets: Iterable<Socket>): Promise<void> {
  await Promise.all([...sockets].map(async (socket) => {
    await new Promise<void>((resolve) => {
      if (socket.closed) resolve()
      else socket.once('close', () => { resolve() })
    })
  }))
}

export function openFetcher (t: Test, { allowPrivateNetworks = false } = {}): Fetcher {
  const fetcher = new Fetcher({ allowPrivateNetworks })
  t.teardown(async () => { await fetcher.close() })
  return fetcher
}

export interface TestTorrent {
  readonly metadata: Metadata
  /** The bytes of each file, padding included. */
  readonly files: readonly Buffer[]
  readonly content: Buffer
}

/** Bytes without a pattern, the same for the same seed. */
export function noise (lengthBytes: number, seed = 'noise'): Buffer {
  const blocks: Buffer[] = []
  for (let i = 0; i * 64 < lengthBytes; i++) blocks.push(createHash('sha512').update(`${seed}${i}`).digest())
  return Buffer.concat(blocks).subarray(0, lengthBytes)
}

/** A torrent of one file, or of a folder. A file whose path begins with `.pad` is padding, and zeros. */
export function makeTorrent ({ name, content, pieceLength = 16_384, webSeeds = [], httpSeeds = [] }: {
  name: string
  content: Buffer | ReadonlyArray<readonly [path: readonly string[], bytes: Buffer]>
  pieceLength?: number
  webSeeds?: readonly string[]
  httpSeeds?: readonly string[]
}): TestTorrent {
  const files = Buffer.isBuffer(content) ? [content] : content.map(([, bytes]) => bytes)
  const bytes = Buffer.concat(files)
  const hashes: Buffer[] = []
  for (let i = 0; i < bytes.length; i += pieceLength) hashes.push(createHash('sha1').update(bytes.subarray(i, i + pieceLength)).digest())
  const shape = Buffer.isBuffer(content)
    ? { length: content.length }
    : { files: content.map(([path, { length }]) => sorted({ ...(path[0] === '.pad' ? { attr: 'p' } : {}), length, path: [...path] })) }
  const info = sorted({ ...shape, name, 'piece length': pieceLength, pieces: Buffer.concat(hashes) })
  const torrent = encode(sorted({ httpseeds: [...httpSeeds], info, 'url-list': [...webSeeds] }))
  return { metadata: parseMetadata(torrent), files, content: bytes }
}

function sorted<T> (dictionary: Record<string, T>): Map<string, T> {
  return new Map(Object.entries(dictionary).sort(([a], [b]) => a < b ? -1 : 1))
}

/** A mirror as it should be: files by their (encoded) path, whole or by a single range. */
export function honest (files: ReadonlyMap<string, Buffer>): RequestListener {
  return (request, response) => {
    const bytes = files.get(request.url ?? '')
    if (bytes === undefined) {
      response.writeHead(404).end('not here')
      return
    }
    const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    if (first === undefined || last === undefined) {
      response.writeHead(200, { 'content-length': bytes.length }).end(bytes)
      return
    }
    const part = bytes.subarray(Number(first), Number(last) + 1)
    response.writeHead(206, { 'content-length': part.length, 'content-range': `bytes ${first}-${Number(first) + part.length - 1}/${bytes.length}` }).end(part)
  }
}
