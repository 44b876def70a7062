import { once } from 'node:events'
import { urgencies } from '../../services/pieces/demand.ts'
import { Geometry } from '../../services/pieces/geometry.ts'
import { PieceStore } from '../../services/pieces/piece-store.ts'
import { withoutSecrets } from '../../services/format.ts'
import { HttpDownloader } from '../../services/download/http-downloader.ts'
import { MirrorFault } from '../../services/download/mirror.ts'
import { MirrorRecord } from '../../services/download/mirror-record.ts'
import { streamRun } from '../../services/download/piece-run.ts'
import { Run } from '../../services/download/run.ts'
import { silent } from '../../services/log.ts'
import { openFetcher } from '../services/download/origin.ts'
import { temporaryDirectory } from '../testnet.ts'
import type { Test } from 'tap'
import type { Fetcher } from '../../services/download/fetcher.ts'
import type { Mirror, Stretch } from '../../services/download/mirror.ts'
import type { PieceIndex } from '../../services/pieces/geometry.ts'
import type { TorrentFile } from '../../services/torrent/metadata.ts'
import type { TestTorrent } from '../services/download/origin.ts'

/** What the server answers to requests for content: as it should, busy for 7 s, it has no such thing, nothing. */
export type Mood = 'well' | 'busy' | 'missing' | 'silent'

export interface MirrorCase {
  readonly mirror: Mirror
  readonly torrent: TestTorrent
  /** Its server's answers to requests for content, from now on. */
  setMood (mood: Mood): void
  /** What the server was asked, so far. */
  readonly requests: readonly string[]
  /** Did the operator name the address? */
  readonly isTrusted: boolean
  /** What must not be shown to people. */
  readonly secrets?: readonly string[]
}

const never = new AbortController().signal

/** What every mirror owes to the downloader. */
export function testMirror (t: Test, title: string, setUp: (t: Test, fetcher: Fetcher) => Promise<MirrorCase>): void {
  t.test(title, async (t) => {
    const fetcher = openFetcher(t, { allowPrivateNetworks: true })
    const { mirror, torrent, setMood, requests, isTrusted, secrets = [] } = await setUp(t, fetcher)
    const { metadata, files } = torrent
    const served = metadata.files.filter((file) => !file.isPadding && file.lengthBytes > 0 && mirror.mayHave(file))
    const [file] = served
    if (file === undefined) throw new Error('the mirror has no file')
    const bytesOf = (index: number): Buffer => files[index] ?? Buffer.alloc(0)
    const last = file.lengthBytes - 1

    t.test('what it may have is known without asking', async (t) => {
      for (const each of metadata.files) mirror.mayHave(each)
      t.strictSame(requests, [])
      t.match(mirror.name, /^127\.0\.0\.1:\d+$/)
    })

    t.test('a stretch of any file is exactly its bytes, many at once too', async (t) => {
      await Promise.all(served.flatMap((file) => {
        const last = file.lengthBytes - 1
        return [[0, 0], [0, last], [last, last], [Math.floor(last / 2), last], [Math.floor(last / 3), Math.floor(last / 2)]].map(async ([start = 0, end = 0]) => {
          t.ok(bytesOf(file.index).subarray(start, end + 1).equals(await fetchStretch(mirror, { file, start, end }, fetcher)), `${file.path} ${start}-${end}`)
        })
      }))
    })

    t.test('the downloader gets whole files from it', async (t) => {
      const store = await PieceStore.open({ metadata, directory: await temporaryDirectory(t) })
      const downloader = new HttpDownloader({ metadata, store, fetcher, log: silent, mirrors: [mirror] })
      t.teardown(async () => {
        await downloader.close()
        await store.close()
      })
      for (const { index } of served) await store.want(index)
      const want = downloader.demand.open()
      want.set(served.map((file) => ({ ...piecesOf(store.geometry, file), urgency: urgencies.background })))
      while (served.some(({ index, lengthBytes }) => store.verifiedBytesOf(index) < lengthBytes)) await once(store, 'verified')
      want.release()
      for (const { index, lengthBytes, path } of served) t.ok((await store.readFile(index, 0, lengthBytes)).equals(bytesOf(index)), path)
    })

    t.test('who gave up waiting is not kept', async (t) => {
      await t.rejects(fetchStretch(mirror, { file, start: 0, end: last }, fetcher, AbortSignal.abort(new Error('left'))), { message: 'left' })
    })

    t.test('a stranger may not send us into our own network, the operator may', async (t) => {
      const guarded = openFetcher(t)
      const { isTrusted: said } = await mirror.request({ file, start: 0, end: last }, never)
      t.equal(said, isTrusted)
      const reading = fetchStretch(mirror, { file, start: 0, end: 0 }, guarded)
      if (isTrusted) t.equal((await reading).length, 1)
      else await t.rejects(reading, { code: 'ADDRESS_REFUSED' })
    })

    t.test('what people see of it holds no secret', async (t) => {
      const { url } = await mirror.request({ file, start: 0, end: last }, never)
      for (const secret of secrets) t.notOk(`${mirror.name} ${withoutSecrets(url)}`.includes(secret))
    })

    t.test('a server that is busy says for how long', async (t) => {
      setMood('busy')
      t.match(await faultOf(runAt(mirror, torrent, file, fetcher)), { kind: 'failed', isBusy: true, retryAfterMs: 7000 })
    })

    t.test('a server without the file is told from one that fails', async (t) => {
      setMood('missing')
      t.match(await faultOf(runAt(mirror, torrent, file, fetcher)), { kind: 'not-here' })
    })

    t.test('a server that falls silent costs no more than its time', async (t) => {
      setMood('silent')
      await t.rejects(runAt(mirror, torrent, file, fetcher), { code: 'HTTP_TIMEOUT' })
    })

    t.test('and all is well again afterwards', async (t) => {
      setMood('well')
      t.ok(bytesOf(file.index).equals(await fetchStretch(mirror, { file, start: 0, end: last }, fetcher)))
    })
  })
}

/** As the mirror says it has to be asked, again and again until the stretch is there. */
async function fetchStretch (mirror: Mirror, stretch: Stretch, fetcher: Fetcher, signal: AbortSignal = never): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let start = stretch.start; start <= stretch.end;) {
    const { url, isTrusted, headers, end, reply: form } = await mirror.request({ ...stretch, start }, signal)
    if (end < start || end > stretch.end) throw new Error(`asked for ${start}-${stretch.end} it goes to ${end}`)
    const reply = await fetcher.get(url, { isTrusted, headers, signal })
    if (reply.status !== (form === 'range' ? 206 : 200)) throw new Error(`status ${reply.status}`)
    const before = start
    for await (const chunk of reply.body) {
      parts.push(chunk)
      start += chunk.length
    }
    if (start !== end + 1) throw new Error(`${start - before} bytes for ${before}-${end}`)
  }
  return Buffer.concat(parts)
}

/** The first piece of the file, as a run of the downloader asks for it. */
async function runAt (mirror: Mirror, { metadata }: TestTorrent, file: TorrentFile, fetcher: Fetcher): Promise<void> {
  const geometry = new Geometry(metadata)
  const { first } = piecesOf(geometry, file)
  const start = geometry.offsetOf(first)
  const run = new Run({ record: new MirrorRecord(mirror), start, end: start + geometry.lengthOf(first), urgency: urgencies.waiting, now: performance.now() })
  await streamRun(run, { store: { geometry, metadata }, fetcher, headersTimeoutMs: 300, idleTimeoutMs: 300, onAnswered: () => {}, onReceived: () => {} }).next()
}

function piecesOf (geometry: Geometry, { offset, lengthBytes }: TorrentFile): { first: PieceIndex, last: PieceIndex } {
  return geometry.piecesOf({ start: offset, end: offset + lengthBytes - 1 })
}

async function faultOf (asking: Promise<void>): Promise<unknown> {
  const error: unknown = await asking.catch((error: unknown) => error)
  return error instanceof MirrorFault ? error.verdict : error
}
