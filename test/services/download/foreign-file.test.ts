import { createServer } from 'node:http'
import t from 'tap'
import { Fetcher } from '../../../services/download/fetcher.ts'
import { openForeign } from '../../../services/download/foreign-file.ts'
import { listenOnLoopback } from '../../loopback.ts'
import { testBytes } from '../../testnet.ts'

const bytes = testBytes(100_000, 'elsewhere')
const range = { start: 100, end: 60_099 }
const { signal } = new AbortController()

t.test('a server elsewhere is believed as far as it keeps to what it was asked for', { timeout: 30_000 }, async (t) => {
  let asked = 0
  const url = await listenOnLoopback(t, createServer(({ url = '', headers }, response) => {
    const [start = 0, end = 0] = (/^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []).slice(1).map(Number)
    const part = bytes.subarray(start, end + 1)
    asked++
    response.writeHead(206, { 'Content-Range': `bytes ${start}-${end}/${bytes.length}`, ETag: url === '/changes' ? `"${asked}"` : '"one"' })
    if (url === '/endless') {
      const more = (): void => { if (!response.destroyed) response.write(part, more) }
      more()
    } else response.end(url === '/short' ? part.subarray(0, -1) : part)
  }))
  const fetcher = new Fetcher({ allowPrivateNetworks: true })
  t.teardown(async () => { await fetcher.close() })
  const read = async (path: string): Promise<Buffer> => {
    const file = await openForeign(new URL(path, url), fetcher, {}, signal)
    const chunks: Buffer[] = []
    for await (const chunk of file.read(range, signal)) chunks.push(Buffer.from(chunk))
    return Buffer.concat(chunks)
  }
  t.same(await read('/film.mkv'), bytes.subarray(range.start, range.end + 1))
  await t.rejects(read('/endless'), { code: 'SOURCE_FAILED', message: /sends more than it was asked for/ })
  await t.rejects(read('/short'), { code: 'SOURCE_FAILED', message: /sends less than it was asked for/ })
  await t.rejects(read('/changes'), { code: 'FILE_CHANGED' })
})
