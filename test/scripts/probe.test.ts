import { once } from 'node:events'
import { createServer } from 'node:http'
import t from 'tap'
import { listenOnLoopback } from '../loopback.ts'
import { startServer } from '../server-process.ts'
import { temporaryDirectory } from '../testnet.ts'
import { runScript } from './run-script.ts'
import type { Test } from 'tap'

interface Probed { readonly code: number | null, readonly result: Record<string, unknown> }

async function probe (t: Test, env: Record<string, string>): Promise<Probed> {
  const cwd = await temporaryDirectory(t)
  const { code, stdout } = await runScript(t, 'probe', [], { cwd, env: { TORRENT_DOWNLOAD_PATH: cwd, ...env } })
  const result: unknown = JSON.parse(stdout)
  if (typeof result !== 'object' || result === null) throw new Error(stdout)
  return { code, result: { ...result } }
}

t.test('a server that plays: exit code 0, and how soon the first byte came', async (t) => {
  const { port } = await startServer(t, { ENABLE_P2P: 'false' })
  const { code, result } = await probe(t, { PORT: String(port) })
  t.equal(code, 0)
  t.match(result, { isPlaying: true, firstByteMs: Number, ms: Number })
})

t.test('a server that asks everybody for its token', async (t) => {
  const API_TOKEN = 'a-token-that-somebody-has-set'
  const { port } = await startServer(t, { ENABLE_P2P: 'false', STREAM_ACCESS: 'signed', API_TOKEN })
  t.match(await probe(t, { PORT: String(port), API_TOKEN }), { code: 0, result: { isPlaying: true } })
  const refused = await probe(t, { PORT: String(port), API_TOKEN: 'another-token-that-is-wrong' })
  t.match(refused, { code: 1, result: { isPlaying: false, reason: /answered with 401/ } })
})

t.test('what does not play says why, within its time', async (t) => {
  const wrong = await listenOnLoopback(t, createServer((_request, response) => { response.writeHead(206).end(Buffer.alloc(65_536)) }))
  const silent = createServer(() => {})
  const silentAt = await listenOnLoopback(t, silent)
  const gone = createServer()
  gone.listen(0, '127.0.0.1')
  await once(gone, 'listening')
  const address = gone.address()
  gone.close()
  await once(gone, 'close')
  const port = (origin: string): string => new URL(origin).port
  t.match(await probe(t, { PORT: port(wrong) }), { code: 1, result: { isPlaying: false, reason: /not those of the test picture/ } })
  t.match(await probe(t, { PORT: String(typeof address === 'object' ? address?.port : '') }), { code: 1, result: { isPlaying: false, reason: /ECONNREFUSED/ } })
  const silence = await probe(t, { PORT: port(silentAt) })
  t.match(silence, { code: 1, result: { isPlaying: false, reason: /timeout/ } })
  t.ok(Number(silence.result['ms']) < 7000, `${String(silence.result['ms'])} ms`)
  t.match(await probe(t, { PORT: '1', ENABLE_MOCK: 'false' }), { code: 1, result: { reason: /ENABLE_MOCK=false/ } })
})
