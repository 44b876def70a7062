import { createServer } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { listenOnLoopback } from './loopback.ts'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { TestTorrent } from './testnet.ts'

export interface SwitchableMirror {
  /** A TORRENT_METADATA_URLS template; it answers whether the mirror lives or not. */
  readonly metadataUrl: string
  /** An HTTP_MIRROR_URLS template. */
  readonly mirrorUrl: string
  /** Bytes of the file that were sent in all. */
  sentBytes (): number
  /** Cuts all its connections, and every new one, until it is told to live again. */
  setAlive (isAlive: boolean): void
  /** Of all connections together; Infinity: as fast as it goes. */
  setBytesPerSecond (bytesPerSecond: number): void
}

const SLICE_MS = 20

/** A mirror of a torrent's first file that can be slowed down, killed and brought back. */
export async function startSwitchableMirror (t: Test, torrent: TestTorrent, { bytesPerSecond = Infinity, isAlive = true } = {}): Promise<SwitchableMirror> {
  const [file] = torrent.files
  if (file === undefined) throw new Error('the torrent has no file')
  const { bytes } = file
  let alive = isAlive
  let rate = bytesPerSecond
  let sent = 0
  let budget = 0
  let filledAt = performance.now()

  /** How much may be sent now, of so much. */
  function take (wanted: number): number {
    if (rate === Infinity) return wanted
    const now = performance.now()
    budget = Math.min(budget + (now - filledAt) * rate / 1000, rate / 10)
    filledAt = now
    const granted = Math.min(wanted, Math.floor(budget))
    budget -= granted
    return granted
  }

  async function answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === `/${torrent.infohash}.torrent`) {
      response.end(torrent.torrent)
      return
    }
    if (!alive) {
      response.destroy()
      return
    }
    const [, start = '0', end = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const last = end === '' ? bytes.length - 1 : Number(end)
    response.writeHead(206, { 'Content-Length': last - Number(start) + 1, 'Content-Range': `bytes ${start}-${last}/${bytes.length}` })
    for (let position = Number(start); position <= last && !response.destroyed;) {
      const granted = take(Math.min(64 * 1024, last - position + 1))
      if (granted === 0) {
        await pause(SLICE_MS)
        continue
      }
      sent += granted
      const isFull = !response.write(bytes.subarray(position, position + granted))
      position += granted
      if (isFull) await drained(response)
    }
    response.end()
  }

  const server = createServer((request, response) => {
    response.on('error', () => {})
    answer(request, response).catch(() => { response.destroy() })
  })
  const origin = await listenOnLoopback(t, server)
  return {
    metadataUrl: `${origin}/{hash}.torrent`,
    mirrorUrl: `${origin}/files/{hash}/{index}`,
    sentBytes: () => sent,
    setAlive (isAlive) {
      alive = isAlive
      if (!isAlive) server.closeAllConnections()
    },
    setBytesPerSecond (bytesPerSecond) { rate = bytesPerSecond }
  }
}

async function drained (response: ServerResponse): Promise<void> {
  await new Promise<void>((resolve) => {
    const done = (): void => {
      response.off('drain', done).off('close', done)
      resolve()
    }
    response.on('drain', done).on('close', done)
  })
}
