// Says step by step what would happen if somebody streamed this infohash, and what fails.
import { access, constants, statfs } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { CacheIndex } from '../services/cache/cache-index.ts'
import { StoredFiles } from '../services/cache/stored-files.ts'
import { Fetcher } from '../services/download/fetcher.ts'
import { MetadataResolver } from '../services/download/metadata-resolver.ts'
import { templateMirrors } from '../services/download/mirrors.ts'
import { sourcesOff } from '../services/filling.ts'
import { formatBytes } from '../services/format.ts'
import { silent } from '../services/log.ts'
import { isMockHash } from '../services/mock/mock-hashes.ts'
import { closeSocket, openSocket, sound } from '../services/nat/discover.ts'
import { resolveServers } from '../services/nat/stun-servers.ts'
import { StunClient } from '../services/nat/stun.ts'
import { reachTcp, reachUdpTracker } from '../services/reach.ts'
import { selectFile } from '../services/torrent/file-selection.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { Usage, command, configuration } from './command.ts'
import { ownAddress, ownerHeaders } from './own-server.ts'
import type { Config } from '../services/config.ts'
import type { Metadata } from '../services/torrent/metadata.ts'

const usage = `\
Usage: npm run -s diagnose -- INFOHASH

Says step by step what would happen if somebody streamed this, and what fails: the settings, the running server if there
is one, the cache and its disk, and whether metadata, mirrors, trackers and STUN servers answer. Those that are asked for
metadata and mirrors learn the infohash; trackers and STUN servers do not.

Exit code: 0 when it would play, or may; 1 when nothing here could play it.
`

/** Each step, however much it asks. */
const stepMs = 8_000
const eachMs = 5_000

type Result = readonly [mark: 'ok' | 'no' | '--', text: string]

await command(usage, async (signal) => {
  const { positionals, values } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean', short: 'h' } } })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const infohash = parseInfohash(positionals[0] ?? '')
  if (infohash === null || positionals.length !== 1) throw new Usage(`one infohash is needed: 40 hex digits or 32 base32 characters, got ${JSON.stringify(positionals.join(' '))}`)
  const config = configuration()
  const fetcher = new Fetcher({ allowPrivateNetworks: config.HTTP_ALLOW_PRIVATE_NETWORKS })
  try {
    return await diagnose(infohash, config, fetcher, signal)
  } finally {
    await fetcher.close()
  }
})

async function diagnose (infohash: string, config: Config, fetcher: Fetcher, signal: AbortSignal): Promise<number> {
  let couldPlay = false
  let mayPlay = false
  const say = (name: string, results: readonly Result[]): void => {
    for (const [mark, text] of results) process.stdout.write(`${mark}  ${name.padEnd(9)} ${text}\n`)
  }
  const limited = (): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(stepMs)])

  say('settings', [['ok', config.isPanel ? 'read; a panel runs this' : 'read'], ...Object.values(sourcesOff(config)).map((why): Result => ['--', why])])
  say('server', await askServer(infohash, config, limited()))
  say('disk', await lookAtDisk(config))

  const isMock = config.ENABLE_MOCK && isMockHash(infohash)
  const cached = await findCached(infohash, config, limited())
  say('cache', [cached])
  if (isMock) say('mock', [['ok', 'a known test hash: the test picture plays, and nobody else is asked']])
  couldPlay = isMock || cached[0] === 'ok'

  const off = sourcesOff(config)
  if (!isMock && (off.p2p === undefined || off['http-fallback'] === undefined)) {
    let metadata: Metadata | null = null
    if (off['http-fallback'] === undefined) {
      const found = await findMetadata(infohash, config, fetcher, limited())
      metadata = found.metadata
      say('metadata', [found.result])
      const mirrors = await askMirrors(infohash, metadata, config, fetcher, limited())
      say('mirrors', mirrors)
      if (metadata !== null && mirrors.some(([mark]) => mark === 'ok')) couldPlay = true
    }
    if (off.p2p === undefined) {
      const trackers = await askTrackers(config, limited())
      say('trackers', trackers)
      const stun = await askStun(config, limited())
      say('STUN', [stun])
      mayPlay = config.DHT_BOOTSTRAP.length > 0 || config.STATIC_PEERS.length > 0 || trackers.some(([mark]) => mark === 'ok')
      const isOffline = trackers.every(([mark]) => mark !== 'ok') && stun[0] !== 'ok'
      if (isOffline && config.TRACKERS.length > 0) {
        say('network', [['no', 'no tracker and no STUN server answers: this machine is offline, or a firewall keeps it in']])
        mayPlay = config.STATIC_PEERS.length > 0
      }
    }
  }
  const verdict: Result = couldPlay
    ? ['ok', 'it plays']
    : mayPlay ? ['--', 'it plays if the swarm has peers with all of it: start it, then GET /stream/status/' + infohash] : ['no', 'nothing here could play it']
  say('verdict', [verdict])
  return verdict[0] === 'no' ? 1 : 0
}

/** What a server that runs with these settings says; it knows more than this command. */
async function askServer (infohash: string, config: Config, signal: AbortSignal): Promise<Result[]> {
  const headers = await ownerHeaders(config)
  const get = async (path: string): Promise<Record<string, unknown> | null> => {
    try {
      const answer: unknown = await (await fetch(`${ownAddress(config)}${path}`, { headers, signal: AbortSignal.any([signal, AbortSignal.timeout(3000)]) })).json()
      return typeof answer === 'object' && answer !== null ? { ...answer } : null
    } catch {
      return null
    }
  }
  const ready = await get('/ready')
  if (ready === null) return [['--', `none answers on port ${config.PORT}: what follows is what one would find`]]
  const status = await get(`/stream/status/${infohash}`)
  const reasons = Array.isArray(ready['reasons']) ? ready['reasons'].join('; ') : ''
  return [
    [ready['status'] === 'ok' ? 'ok' : 'no', `it runs, and is ${String(ready['status'])}${reasons === '' ? '' : `: ${reasons}`}`],
    ...status === null || typeof status['state'] !== 'string' ? [] : [[status['state'] === 'failed' ? 'no' : 'ok', `of this it says: ${status['state']}, ${String(status['reason'])}`] as const]
  ]
}

async function lookAtDisk ({ TORRENT_DOWNLOAD_PATH: directory, CACHE_MIN_FREE_MB, CACHE_READ_ONLY }: Config): Promise<Result[]> {
  try {
    await access(directory, CACHE_READ_ONLY ? constants.R_OK : constants.R_OK | constants.W_OK)
    const { bavail, bsize } = await statfs(directory)
    const isEnough = bavail * bsize >= CACHE_MIN_FREE_MB * 1_000_000
    return [[isEnough ? 'ok' : 'no', `${formatBytes(bavail * bsize)} free at ${directory}${isEnough ? '' : `, less than the ${CACHE_MIN_FREE_MB} MB that CACHE_MIN_FREE_MB keeps`}`]]
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT' && !CACHE_READ_ONLY) return [['--', `${directory} is not there yet, and made at the first start`]]
    return [['no', `${directory} cannot be ${CACHE_READ_ONLY ? 'read' : 'written'}: ${messageOf(error)}`]]
  }
}

async function findCached (infohash: string, { TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: mediaPaths, CACHE_ONLY_MODE: isCacheOnly }: Config, signal: AbortSignal): Promise<Result> {
  const stored = await StoredFiles.open({ directory, isReadOnly: true, log: silent })
  const index = new CacheIndex({ directory, mediaPaths, stored, isCacheOnly, log: silent, watch: null })
  try {
    const file = await index.find(infohash, null, null, signal)
    if (file === null) return ['--', 'no file of it is here']
    return ['ok', `${file.name} (${formatBytes(file.identity.lengthBytes)})${file.isVerified ? ', verified' : ', which nobody has hashed yet'}`]
  } catch (error) {
    return ['no', messageOf(error)]
  } finally {
    index.close()
    await stored.close()
  }
}

async function findMetadata (infohash: string, { TORRENT_METADATA_URLS: templates, WEBTOR_URL: url, WEBTOR_TOKEN: token, WEBTOR_API_KEY: apiKey }: Config, fetcher: Fetcher, signal: AbortSignal): Promise<{ metadata: Metadata | null, result: Result }> {
  if (templates.length === 0 && url === null) return { metadata: null, result: ['--', 'nobody is asked for .torrent files (TORRENT_METADATA_URLS): only peers can have it'] }
  try {
    const metadata = await new MetadataResolver({ fetcher, templates, webtor: url === null ? null : { url, token, apiKey }, log: silent }).resolve({ infohash }, signal)
    const { name, lengthBytes } = selectFile(metadata, null)
    return { metadata, result: ['ok', `${metadata.name}: ${metadata.files.length} ${metadata.files.length === 1 ? 'file' : 'files'}, ${name} (${formatBytes(lengthBytes)}) would play`] }
  } catch (error) {
    return { metadata: null, result: ['no', messageOf(error)] }
  }
}

async function askMirrors (infohash: string, metadata: Metadata | null, { HTTP_MIRROR_URLS }: Config, fetcher: Fetcher, signal: AbortSignal): Promise<Result[]> {
  const seeds = metadata?.webSeeds.length ?? 0
  const some: Result[] = seeds > 0 ? [['ok', `the torrent names ${seeds} web seeds`]] : []
  if (HTTP_MIRROR_URLS.length === 0) return some.length > 0 ? some : [['--', metadata === null ? 'none is configured (HTTP_MIRROR_URLS)' : 'the torrent names no web seed, and none is configured (HTTP_MIRROR_URLS)']]
  if (metadata === null) return [['--', `${HTTP_MIRROR_URLS.length} are configured; without metadata nothing can be asked of them`]]
  const stretch = { file: selectFile(metadata, null), start: 0, end: 0 }
  const asked = templateMirrors(HTTP_MIRROR_URLS, { infohash }).map(async ({ name, request }): Promise<Result> => {
    const each = AbortSignal.any([signal, AbortSignal.timeout(eachMs)])
    try {
      const { url } = await request(stretch, each)
      const reply = await fetcher.get(url, { isTrusted: true, headers: { Range: 'bytes=0-0' }, signal: each })
      await reply.body.return()
      return reply.status === 206 || reply.status === 200 ? ['ok', `${name} has it (${reply.status})`] : ['no', `${name}: status ${reply.status}`]
    } catch (error) {
      return ['no', `${name}: ${messageOf(error)}`]
    }
  })
  return [...some, ...await Promise.all(asked)]
}

async function askTrackers ({ TRACKERS }: Config, signal: AbortSignal): Promise<Result[]> {
  if (TRACKERS.length === 0) return [['--', 'none is configured (TRACKERS)']]
  const ports: Readonly<Record<string, number>> = { 'http:': 80, 'ws:': 80, 'https:': 443, 'wss:': 443 }
  return await Promise.all(TRACKERS.map(async (text): Promise<Result> => {
    const { protocol, hostname, host, port } = new URL(text)
    const each = AbortSignal.any([signal, AbortSignal.timeout(eachMs)])
    const name = hostname.replace(/^\[|\]$/g, '')
    try {
      await (protocol === 'udp:' ? reachUdpTracker(name, Number(port), each) : reachTcp(name, Number(port) || ports[protocol] || 0, each))
      return ['ok', `${protocol}//${host} answers`]
    } catch (error) {
      return ['no', `${protocol}//${host}: ${messageOf(error)}`]
    }
  }))
}

async function askStun ({ STUN_SERVERS }: Config, signal: AbortSignal): Promise<Result> {
  if (STUN_SERVERS.length === 0) return ['--', 'none is configured (STUN_SERVERS)']
  const socket = await openSocket(0)
  if (socket === null) return ['no', 'no UDP socket can be had']
  try {
    const { answers, asked } = await sound(new StunClient(socket), resolveServers(STUN_SERVERS, eachMs, signal), { signal })
    const [first] = answers
    return first === undefined ? ['no', `none of ${STUN_SERVERS.length} servers answers (${asked} could be asked): UDP may be blocked`] : ['ok', `${answers.length} answers: others see this machine at ${first.mapped.address}`]
  } finally {
    await closeSocket(socket)
  }
}

function messageOf (error: unknown): string {
  if (error instanceof Error && error.name === 'TimeoutError') return `no answer within ${eachMs} ms`
  return error instanceof Error ? error.message || String('code' in error ? error.code : error.name) : String(error)
}
