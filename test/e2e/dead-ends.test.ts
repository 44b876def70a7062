import { once } from 'node:events'
import { createServer } from 'node:net'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { bytesFrom, jsonFrom, startApp } from '../helper.ts'
import { startMirror } from '../mirror.ts'
import { tellFigure } from '../soak.ts'
import { makeTorrent, testBytes, until } from '../testnet.ts'
import type { Test } from 'tap'
import type { SourceFile } from '../../services/source.ts'

const P2P_TIMEOUT = 1500
const START_TIMEOUT = 4000

/** Accepts connections and never says a word. */
async function startSilence (t: Test): Promise<string> {
  const server = createServer((socket) => {
    t.teardown(() => { socket.destroy() })
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  return `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
}

interface Ways {
  /** Where no `.torrent` comes from. */
  readonly metadata: string
  readonly mirror: string
  /** The 404 has to come by then, … */
  readonly limitMs: number
  /** … with what each source says. */
  readonly codes: Readonly<Record<string, RegExp>>
}

t.test('everything is dead -> 404 with every reason in time, and the second request gets its own at once, with Retry-After', { timeout: 60_000 }, async (t) => {
  const torrent = await makeTorrent({ 'Film.mkv': testBytes(500_000, 'dead') }, { pieceLength: 16_384 })
  const silence = await startSilence(t)
  const refusing = await startMirror(t, torrent, { before: (_request, response) => { response.writeHead(500).end() } })
  const cutting = await startMirror(t, torrent, { before: (_request, response) => { response.destroy() } })
  const nobody = 'http://127.0.0.1:1'
  const ways: Readonly<Record<string, Ways>> = {
    'nobody listens anywhere': { metadata: `${nobody}/{hash}.torrent`, mirror: `${nobody}/{hash}`, limitMs: P2P_TIMEOUT, codes: { p2p: /^P2P_TIMEOUT$/, 'http-fallback': /^METADATA_NOT_FOUND$/ } },
    'everybody is silent': { metadata: `${silence}/{hash}.torrent`, mirror: `${silence}/{hash}`, limitMs: START_TIMEOUT, codes: { p2p: /^P2P_TIMEOUT$/, 'http-fallback': /^(METADATA_NOT_FOUND|SOURCE_TIMEOUT|START_TIMEOUT)$/ } },
    'the metadata is there, the mirror says 500': { metadata: refusing.metadataUrl, mirror: refusing.mirrorUrl, limitMs: START_TIMEOUT, codes: { p2p: /^P2P_TIMEOUT$/, 'http-fallback': /^HTTP_MIRRORS_FAILED$/ } },
    'the metadata is there, the mirror hangs up': { metadata: cutting.metadataUrl, mirror: cutting.mirrorUrl, limitMs: START_TIMEOUT, codes: { p2p: /^P2P_TIMEOUT$/, 'http-fallback': /^(HTTP_MIRRORS_FAILED|START_TIMEOUT|SOURCE_TIMEOUT)$/ } },
    'the metadata is there, the mirror is silent': { metadata: refusing.metadataUrl, mirror: `${silence}/{hash}`, limitMs: START_TIMEOUT, codes: { p2p: /^P2P_TIMEOUT$/, 'http-fallback': /^(HTTP_MIRRORS_FAILED|START_TIMEOUT|SOURCE_TIMEOUT)$/ } }
  }
  await Promise.all(Object.entries(ways).map(async ([what, { metadata, mirror, limitMs, codes }]) => {
    const { app, url } = await startApp(t, { ENABLE_P2P: 'true', P2P_TIMEOUT: String(P2P_TIMEOUT), START_TIMEOUT: String(START_TIMEOUT), SOURCE_HEDGE_DELAY: '300', TORRENT_METADATA_URLS: metadata, HTTP_MIRROR_URLS: mirror })
    await until('the swarm is there', () => app.swarm?.status.state === 'ready')
    const ask = async (): Promise<{ ms: number, reasons: Array<{ source: string, code: string, message: string }>, status: number, retryAfter: number }> => {
      const startedAt = performance.now()
      const { status, headers, body } = await jsonFrom(`${url}/stream/proxy/${torrent.infohash}`)
      t.equal(body.message, 'Unable to stream this content. P2P connectivity is unavailable and no cached version exists.', what)
      return { ms: performance.now() - startedAt, reasons: body.reasons, status, retryAfter: Number(headers.get('retry-after')) }
    }
    const first = await ask()
    t.equal(first.status, 404, what)
    t.ok(first.ms < limitMs + 1500, `${what}: 404 after ${Math.round(first.ms)} ms`)
    for (const [source, code] of Object.entries(codes)) t.match(first.reasons.find((reason) => reason.source === source)?.code ?? 'nothing', code, `${what}: ${JSON.stringify(first.reasons)}`)
    const second = await ask()
    tellFigure(t, `dead: ${what}`, `404 after ${Math.round(first.ms)} ms, again after ${Math.round(second.ms)} ms, Retry-After ${second.retryAfter} s`)
    // What the whole start had no time for may come with more of it: that is tried again.
    if (!first.reasons.some(({ code }) => code === 'START_TIMEOUT')) t.ok(second.ms < 500, `${what}: asked again, after ${Math.round(second.ms)} ms`)
    t.ok(second.status === 404 && second.retryAfter > 0, `${what}: with Retry-After`)
    t.same(second.reasons.map(({ source }) => source), first.reasons.map(({ source }) => source), `${what}: and every reason`)
  }))
})

for (const isLocal of [true, false]) {
  for (const hasMirror of [true, false]) {
    t.test(`a read of ${isLocal ? 'the disk' : 'a source'} never ends in the middle of a response -> ${hasMirror ? 'it goes on from a mirror' : 'the socket is destroyed in time'}, and a client that leaves is not held up`, { timeout: 60_000 }, async (t) => {
      const film = testBytes(3_000_000, 'stuck')
      const torrent = await makeTorrent({ 'Film.mkv': film }, { pieceLength: 65_536 })
      const mirror = hasMirror ? await startMirror(t, torrent) : null
      const { app, url } = await startApp(t, {
        STALL_TIMEOUT: '500',
        RESPONSE_STALL_LIMIT: '4000',
        SOURCE_HEDGE_DELAY: '100',
        START_TIMEOUT: '2000',
        ...mirror === null ? { ENABLE_HTTP_FALLBACK: 'false' } : { TORRENT_METADATA_URLS: mirror.metadataUrl, HTTP_MIRROR_URLS: mirror.mirrorUrl }
      })
      let stuck = 0
      const file: SourceFile = {
        source: 'cache',
        name: 'Film.mkv',
        lengthBytes: film.length,
        etag: `"${torrent.infohash}-0"`,
        lastModified: null,
        isVerified: true,
        isLocal,
        read: ({ start }) => ({
          [Symbol.asyncIterator]: () => {
            let position = start
            return {
              async next () {
                if (position > 1_000_000) {
                  stuck++
                  // As a dead disk does: neither an answer nor an error, whatever the signal says.
                  return await new Promise<never>(() => {})
                }
                const value = film.subarray(position, position + 100_000)
                position += value.length
                return { done: false, value }
              },
              return: async () => await new Promise<never>(() => {})
            }
          }
        })
      }
      app.sources.add({ name: 'stuck', priority: 1, open: async () => file })
      const stream = `${url}/stream/proxy/${torrent.infohash}`
      const startedAt = performance.now()
      const read = bytesFrom(stream)
      if (hasMirror) t.ok(film.equals(await read), `every byte came, after ${Math.round(performance.now() - startedAt)} ms`)
      else {
        await t.rejects(read)
        const ms = performance.now() - startedAt
        t.ok(ms > 2000 && ms < 8000, `cut after ${Math.round(ms)} ms`)
      }
      t.ok(stuck > 0, 'it was stuck')
      tellFigure(t, `a stuck ${isLocal ? 'disk' : 'source'}, ${hasMirror ? 'with' : 'without'} a mirror`, `over after ${Math.round(performance.now() - startedAt)} ms`)
      // A client that leaves while it is stuck: the server forgets it at once.
      stuck = 0
      const leave = new AbortController()
      const left = fetch(stream, { headers: { Range: 'bytes=1500000-' }, signal: leave.signal }).then(async (response) => await response.arrayBuffer()).catch(() => null)
      await until('it is stuck', () => stuck > 0)
      leave.abort()
      await left
      await wait(0)
      const closedAt = performance.now()
      await app.close()
      t.ok(performance.now() - closedAt < 3000, `the server closes within ${Math.round(performance.now() - closedAt)} ms`)
    })
  }
}
