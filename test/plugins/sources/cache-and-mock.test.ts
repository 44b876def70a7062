import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import Fastify from 'fastify'
import t from 'tap'

import blocklist from '../../../plugins/blocklist.ts'
import budget from '../../../plugins/budget.ts'
import cache from '../../../plugins/cache.ts'
import config from '../../../plugins/config.ts'
import sourceChain from '../../../plugins/source-chain.ts'
import cacheSource from '../../../plugins/sources/cache.ts'
import events from '../../../plugins/events.ts'
import fetcher from '../../../plugins/fetcher.ts'
import metadata from '../../../plugins/metadata.ts'
import mockSource from '../../../plugins/sources/mock.ts'
import storedFiles from '../../../plugins/stored-files.ts'
import torrents from '../../../plugins/torrents.ts'
import { readConfig } from '../../../services/config.ts'
import { mockHashes } from '../../../services/mock/mock-hashes.ts'
import { NothingServes } from '../../../services/source-walk.ts'
import { temporaryDirectory } from '../../testnet.ts'
import type { Refusal } from '../../../services/source-walk.ts'
import type { SourceFile } from '../../../services/source.ts'
import type { Test } from 'tap'

const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const [mockHash = ''] = mockHashes
const signal = new AbortController().signal

type Open = (infohash: string, fileIndex?: number | null) => Promise<SourceFile>

/** The chain of a server that has these two sources and no others: what each opens is all that there is. */
async function startChain (t: Test, directory: string, env: Record<string, string> = {}): Promise<{ open: Open, names: string[] }> {
  const app = Fastify()
  t.teardown(async () => { await app.close() })
  await app.register(config, { config: readConfig({ TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: 'none', ...env }) })
  await app.register(blocklist)
  await app.register(events)
  await app.register(storedFiles)
  await app.register(budget)
  await app.register(fetcher)
  await app.register(metadata)
  await app.register(torrents)
  await app.register(cache)
  await app.register(sourceChain)
  await app.register(mockSource)
  await app.register(cacheSource)
  await app.ready()
  return {
    names: app.sources.names,
    open: async (infohash, fileIndex = null) => (await app.sources.open({ infohash, fileIndex, trackers: [], head: { start: 0 } }, signal)).file
  }
}

/** Why nothing serves, in the words of each source. */
async function refusalsOf (opening: Promise<SourceFile>): Promise<readonly Refusal[]> {
  const error = await opening.then(() => null, (error: unknown) => error)
  if (!(error instanceof NothingServes)) throw new Error('something serves this', { cause: error })
  return error.refusals
}

async function bytesOf (file: SourceFile): Promise<Buffer> {
  const chunks = []
  for await (const chunk of file.read({ start: 0, end: file.lengthBytes - 1 }, signal)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

t.test('the cache is asked before the mock, whichever was registered first', async t => {
  const { names } = await startChain(t, await temporaryDirectory(t))
  t.same(names, ['cache', 'mock'])
})

t.test('a file in the directory is served from the cache, byte for byte', async t => {
  const directory = await temporaryDirectory(t)
  const bytes = randomBytes(1_500_000)
  await writeFile(join(directory, `${infohash}.mp4`), bytes)
  const { open } = await startChain(t, directory)
  const file = await open(infohash)
  t.match(file, { source: 'cache', name: `${infohash}.mp4`, isVerified: false, etag: new RegExp(`^"${infohash}-1500000-\\d+"$`) })
  t.ok((await bytesOf(file)).equals(bytes))
})

t.test('every test hash is answered with the mock, which is file 0 and no other', async t => {
  const { open } = await startChain(t, await temporaryDirectory(t))
  for (const hash of mockHashes) t.match(await open(hash), { source: 'mock', lengthBytes: 2_097_152 })
  t.match(await open(mockHash, 0), { source: 'mock' })
  t.match(await refusalsOf(open(mockHash, 1)), [{ source: 'mock', code: 'FILE_INDEX' }])
})

t.test('a cached file for a test hash wins over the mock', async t => {
  const directory = await temporaryDirectory(t)
  await writeFile(join(directory, `${mockHash}.mp4`), randomBytes(1_000_000))
  const { open } = await startChain(t, directory)
  t.match(await open(mockHash), { source: 'cache', lengthBytes: 1_000_000 })
})

t.test('what neither has is refused by neither', async t => {
  const { open } = await startChain(t, await temporaryDirectory(t))
  t.same(await refusalsOf(open(infohash)), [])
})

t.test('ENABLE_MOCK=false: a test hash is one like any other', async t => {
  const { open, names } = await startChain(t, await temporaryDirectory(t), { ENABLE_MOCK: 'false' })
  t.same(names, ['cache'])
  t.same(await refusalsOf(open(mockHash)), [])
})
