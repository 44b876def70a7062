import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createCipheriv, createHash } from 'node:crypto'
import { once } from 'node:events'
import { access, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { Client as DhtNode } from 'bittorrent-dht'
import { Server as TrackerServer } from 'bittorrent-tracker'
import createTorrent from 'create-torrent'
import type { Test } from 'tap'
import { parseMetadata } from '../services/torrent/metadata.ts'
import type { Metadata } from '../services/torrent/metadata.ts'

/**
 * A BitTorrent network on loopback: torrents, trackers, DHT nodes and seeders of other makes. Whatever is started here
 * ends with the test that started it.
 */

export interface TestTorrent {
  readonly infohash: string
  readonly metadata: Metadata
  /** The `.torrent`. */
  readonly torrent: Buffer
  /** The files in the torrent's order, as they were given. */
  readonly files: ReadonlyArray<{ readonly path: string, readonly bytes: Buffer }>
}

export interface TorrentChoices {
  /** The torrent's name, its folder when there are several files. Default: the single file's name, else `testnet`. */
  readonly name?: string
  /** Bytes. Default 16 KiB, so that small files have many pieces. */
  readonly pieceLength?: number
  readonly trackers?: readonly string[]
  readonly webSeeds?: readonly string[]
  readonly isPrivate?: boolean
}

/**
 * A torrent of these files, made by create-torrent in memory. Keys are paths (`/` between folders), in the torrent's order. One file
 * alone makes a single-file torrent.
 */
export async function makeTorrent (files: Readonly<Record<string, Buffer>>, { name, pieceLength = 16_384, trackers = [], webSeeds, isPrivate }: TorrentChoices = {}): Promise<TestTorrent> {
  const entries = Object.entries(files).map(([path, bytes]) => ({ path, bytes }))
  const [first] = entries
  if (first === undefined) throw new Error('a torrent needs a file')
  const torrentName = name ?? (entries.length === 1 ? first.path : 'testnet')
  // A copy of each: create-torrent takes the name from a property of the buffer.
  const input = entries.map(({ path, bytes }) => Object.assign(Buffer.from(bytes), { fullPath: entries.length === 1 ? torrentName : `${torrentName}/${path}` }))
  const torrent = await new Promise<Buffer>((resolve, reject) => {
    createTorrent(input, {
      name: torrentName,
      pieceLength,
      // Made a minute ago: a date that is rounded up to the next second is not sent.
      creationDate: Date.now() - 60_000,
      announceList: trackers.map((tracker) => [tracker]),
      filterJunkFiles: false,
      ...(webSeeds === undefined ? {} : { urlList: webSeeds }),
      ...(isPrivate === undefined ? {} : { private: isPrivate })
    }, (error, bytes) => {
      if (error === null) resolve(Buffer.from(bytes))
      else reject(error)
    })
  })
  const metadata = parseMetadata(torrent)
  return { infohash: metadata.infohash, metadata, torrent, files: entries }
}

/** Bytes that do not compress and repeat from run to run: the same seed gives the same bytes. */
export function testBytes (length: number, seed: string): Buffer {
  const key = createHash('sha256').update(seed).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length))
}

/** A directory of this test's own outside its testdir(), removed with the test. */
export async function temporaryDirectory (t: Test): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'self-streme-test-'))
  // Retried: what just ended may still be writing its last file.
  t.teardown(async () => { await rm(directory, { recursive: true, force: true, maxRetries: 20 }) })
  return directory
}

/** Writes the torrent's content as a client would have it, and its `.torrent`. */
export async function writeContent (t: Test, torrent: TestTorrent): Promise<{ directory: string, torrentPath: string }> {
  const directory = await temporaryDirectory(t)
  for (const { path, bytes } of torrent.files) {
    const target = join(directory, torrent.metadata.isMultiFile ? join(torrent.metadata.name, path) : torrent.metadata.name)
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, bytes)
  }
  const torrentPath = join(directory, 'testnet.torrent')
  await writeFile(torrentPath, torrent.torrent)
  return { directory, torrentPath }
}

/** A port of 127.0.0.1 that nobody has at this moment, for programs that cannot choose one and tell it. */
export async function freePort (): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/**
 * Waits until `isTrue` answers with anything but false, null or undefined, and gives that. Only for what sends no event; throws after `limitMs`.
 */
export async function until<T> (what: string, isTrue: () => T | Promise<T>, limitMs = 30_000): Promise<NonNullable<T>> {
  const deadline = performance.now() + limitMs
  for (;;) {
    const answer = await isTrue()
    if (answer !== false && answer !== null && answer !== undefined) return answer
    if (performance.now() > deadline) throw new Error(`waited ${limitMs} ms in vain: ${what}`)
    await sleep(20)
  }
}

export interface TestTracker {
  /** `http://127.0.0.1:port/announce` */
  readonly url: string
  /** `ip:port` of the peers that it would tell of now. */
  peersOf (infohash: string): string[]
  /** The announces it had, in their order: `started`, `stopped`, `completed`, or `update`. */
  readonly events: ReadonlyArray<{ readonly event: string, readonly infohash: string }>
}

/** An HTTP tracker on loopback. */
export async function startTracker (t: Test): Promise<TestTracker> {
  const server = new TrackerServer({ http: true, udp: false, ws: false, stats: false })
  const events: Array<{ event: string, infohash: string }> = []
  for (const event of ['start', 'stop', 'complete', 'update']) {
    server.on(event, (_address: unknown, params: { info_hash?: string }) => { events.push({ event, infohash: params.info_hash ?? '' }) })
  }
  server.on('warning', () => {})
  server.on('error', (error: Error) => { throw error })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  t.teardown(async () => { await new Promise<void>(resolve => { server.close(resolve) }) })
  return {
    url: `http://127.0.0.1:${portOf(server.http)}/announce`,
    events,
    peersOf (infohash) {
      const peers = server.torrents[infohash]?.peers
      return (peers?.keys ?? []).filter((key) => /^[\d.]+:\d+$/.test(key))
    }
  }
}

function portOf (socket: { address (): unknown } | null): number {
  const address = socket?.address()
  if (typeof address !== 'object' || address === null || !('port' in address) || typeof address.port !== 'number') throw new Error('the tracker does not listen')
  return address.port
}

export interface TestDht {
  /** The nodes, `ip:port`. */
  readonly bootstrap: string[]
  /** Waits until the DHT knows a peer of the torrent, and gives it as `ip:port`. */
  peerOf (infohash: string): Promise<string>
}

/** A DHT of `count` nodes on loopback that know each other and nobody else. */
export async function startDht (t: Test, count: number): Promise<TestDht> {
  const bootstrap: string[] = []
  const nodes: DhtNode[] = []
  for (let i = 0; i < count; i++) {
    const node = new DhtNode({ bootstrap: bootstrap.length === 0 ? false : [...bootstrap] })
    node.on('error', () => {})
    t.teardown(async () => { await new Promise<void>(resolve => { node.destroy(resolve) }) })
    await new Promise<void>(resolve => { node.listen(0, '127.0.0.1', resolve) })
    nodes.push(node)
    bootstrap.push(`127.0.0.1:${node.address().port}`)
  }
  await until('the DHT nodes know each other', () => nodes.every((node) => node.nodes.count() >= Math.min(count - 1, 3)))
  return {
    bootstrap,
    async peerOf (infohash) {
      let found: string | null = null
      for (const node of nodes) {
        node.on('peer', ({ host, port }: { host: string, port: number }, hash: Buffer) => {
          if (hash.toString('hex') === infohash) found = `${host}:${port}`
        })
      }
      return await until('the DHT knows a peer', async () => {
        await Promise.all(nodes.map(async (node) => { await new Promise<void>(resolve => { node.lookup(infohash, () => { resolve() }) }) }))
        return found
      })
    }
  }
}

/** Is a test to be left out where a program of another make is missing? Otherwise it fails, and says what to install. */
export const isSkippingMissing = process.env['SELF_STREME_SKIP_MISSING'] === '1'

/** Thrown where a program is missing and SELF_STREME_SKIP_MISSING=1. */
export class Missing extends Error {}

/** What to throw where a program is missing. */
export function missing (debianPackage: string): Error {
  const message = `missing: install the Debian package ${debianPackage} (or set SELF_STREME_SKIP_MISSING=1 to leave such tests out)`
  return isSkippingMissing ? new Missing(message) : new Error(message)
}

/**
 * Runs a test that needs programs of other makes: where one is missing the test fails with a line that names the Debian
 * package, or is skipped with SELF_STREME_SKIP_MISSING=1.
 */
export function testWith (t: Test, name: string, body: (t: Test) => Promise<void>, timeoutMs = 110_000): void {
  t.test(name, { timeout: timeoutMs }, async (t) => {
    try {
      await body(t)
    } catch (error) {
      if (!(error instanceof Missing)) throw error
      t.pass(error.message, { skip: error.message })
    }
  })
}

export interface SeederChoices {
  /** DHT nodes to start from, `ip:port`; none: no DHT. */
  readonly dht?: readonly string[]
  /** Peers to connect to, `ip:port`. */
  readonly peers?: readonly string[]
  readonly transport?: 'both' | 'tcp' | 'utp'
  /** Bytes a second; 0 for none. */
  readonly uploadLimit?: number
  /** Connects to nobody, only accepts. */
  readonly isPassive?: boolean
  /** Starts with nothing, and downloads. */
  readonly isLeech?: boolean
  /** Sends what is in its files, right or wrong. */
  readonly isUnchecked?: boolean
  /** MSE; default: with those who want it. */
  readonly encryption?: 'forced' | 'off'
  /** Bytes a second; 0 for none. */
  readonly downloadLimit?: number
  /** Stays connected to peers that need nothing of it: an ordinary client hangs up on them. */
  readonly keepsRedundant?: boolean
  /** Once it has a peer, dials nobody while it seeds, but whom a relay introduces. */
  readonly waitsAsSeed?: boolean
  /** Each torrent in a session of its own, on the next ports. */
  readonly isApart?: boolean
  /** Default 127.0.0.1 and any port. */
  readonly address?: string
  readonly port?: number
  /** Looks for others in its network (BEP 14), and tells them of itself. */
  readonly isLocal?: boolean
  /** Seconds until its dials by TCP have failed; default 15. */
  readonly connectTimeoutSeconds?: number
  /** How it is started, with these arguments of python3; default: here. */
  readonly start?: (args: readonly string[]) => ChildProcess
}

export interface SeederCounts {
  readonly infohash: string
  readonly uploaded: number
  readonly downloaded: number
  readonly peers: number
  readonly isSeeding: boolean
  /** Peers whose handshake is done, `ip:port` as their packets come. */
  readonly connected: ReadonlyArray<{ readonly address: string, readonly client: string, readonly isUtp: boolean, readonly isOutgoing: boolean, readonly isHolepunched: boolean, readonly received: number, readonly sent: number }>
}

export interface TestSeeder {
  /** `127.0.0.1:port` */
  readonly address: string
  readonly pid: number
  /** Where its files are. */
  readonly directory: string
  /** What it has counted up to now, in the first torrent. */
  counts (): Promise<SeederCounts>
  /** The same for each torrent. */
  allCounts (): Promise<SeederCounts[]>
  stop (): Promise<void>
}

/** libtorrent (Debian: python3-libtorrent) with the torrent's content. It announces to the trackers in the `.torrent`. */
export async function startSeeder (t: Test, torrent: TestTorrent, choices: SeederChoices = {}): Promise<TestSeeder> {
  return await startSeederOf(t, await writeContent(t, choices.isLeech === true ? { ...torrent, files: [] } : torrent), choices)
}

/** The same of content that is on the disk already, of several torrents in one directory. */
export async function startSeederOf (t: Test, { directory, torrentPath }: { readonly directory: string, readonly torrentPath: string | readonly string[] }, choices: SeederChoices = {}): Promise<TestSeeder> {
  const { dht = [], peers = [], transport = 'both', uploadLimit = 0, downloadLimit = 0, isPassive = false, isLeech = false, isUnchecked = false, keepsRedundant = false, isApart = false, waitsAsSeed = false, isLocal = false, encryption = 'enabled' } = choices
  const { address = '127.0.0.1', port = 0, connectTimeoutSeconds = 15, start = (args) => spawn('/usr/bin/python3', args, { stdio: ['pipe', 'pipe', 'inherit'] }) } = choices
  const script = fileURLToPath(new URL('./system/seeder.py', import.meta.url))
  const child = start([
    script, ...[torrentPath].flat().flatMap((path) => ['--torrent', path]), '--content', directory, '--address', address, '--port', String(port), '--transport', transport,
    '--upload-limit', String(uploadLimit), '--download-limit', String(downloadLimit), '--connect-timeout', String(connectTimeoutSeconds),
    ...dht.flatMap((node) => ['--dht', node]), ...peers.flatMap((peer) => ['--peer', peer]),
    ...(isPassive ? ['--passive'] : []), ...(isLeech ? ['--leech'] : []), ...(isUnchecked ? ['--unchecked'] : []), ...(isLocal ? ['--lsd'] : []), '--encryption', encryption, ...(keepsRedundant ? ['--keep-redundant'] : []), ...(isApart ? ['--apart'] : []), ...(waitsAsSeed ? ['--seeds-wait'] : [])
  ])
  const stop = stopper(child)
  t.teardown(stop)
  if (!await hasStarted(child)) throw missing('python3-libtorrent')
  const { stdin, stdout } = child
  if (stdin === null || stdout === null) throw new Error('the seeder has no pipes')
  stdin.on('error', () => {})
  const lines = createInterface({ input: stdout })[Symbol.asyncIterator]()
  const read = async (): Promise<Record<string, unknown>> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error('the seeder ended')
    const answer: unknown = JSON.parse(value)
    if (typeof answer !== 'object' || answer === null) throw new Error(`the seeder said ${value}`)
    return { ...answer }
  }
  const first = await read()
  if ('missing' in first) throw missing('python3-libtorrent')
  if (typeof first['port'] !== 'number') throw new Error(`the seeder said ${JSON.stringify(first)}`)
  /** Answers come in the order of the questions. */
  let last: Promise<unknown> = Promise.resolve()
  const allCounts = async (): Promise<SeederCounts[]> => {
    const answer = last.then(async () => {
      stdin.write('\n')
      return await read()
    })
    last = answer.catch(() => {})
    const { torrents } = await answer
    if (!Array.isArray(torrents)) throw new Error('the seeder did not count')
    // seeder.py writes them in this form.
    return torrents as SeederCounts[]
  }
  return {
    address: `${address}:${first['port']}`,
    pid: child.pid ?? 0,
    directory,
    stop,
    allCounts,
    async counts () {
      const [first] = await allCounts()
      if (first === undefined) throw new Error('the seeder has no torrent')
      return first
    }
  }
}

/** aria2 (Debian: aria2) with the torrent's content: TCP only, no DHT. It announces to the trackers in the `.torrent`. */
export async function startAria2 (t: Test, torrent: TestTorrent): Promise<{ address: string, stop: () => Promise<void> }> {
  const { directory, torrentPath } = await writeContent(t, torrent)
  const port = await freePort()
  const child = spawn('aria2c', [
    '--no-conf', `--dir=${directory}`, `--listen-port=${port}`, '--enable-dht=false', '--enable-dht6=false', '--bt-enable-lpd=false',
    '--enable-peer-exchange=false', '--bt-seed-unverified=true', '--seed-ratio=0.0', '--disable-ipv6=true', '--interface=127.0.0.1',
    '--summary-interval=0', `--stop-with-process=${process.pid}`, torrentPath
  ], { stdio: 'ignore' })
  const stop = stopper(child)
  t.teardown(stop)
  if (!await hasStarted(child)) throw missing('aria2')
  await until('aria2 listens', async () => await isListening(port))
  return { address: `127.0.0.1:${port}`, stop }
}

/** Transmission (Debian: transmission-daemon) with the torrent's content, no DHT. It announces to the trackers in the `.torrent`. */
export async function startTransmission (t: Test, torrent: TestTorrent): Promise<{ address: string, stop: () => Promise<void> }> {
  const { directory } = await writeContent(t, torrent)
  const configuration = await temporaryDirectory(t)
  const port = await freePort()
  const rpcPort = await freePort()
  await writeFile(join(configuration, 'settings.json'), JSON.stringify({
    'bind-address-ipv4': '127.0.0.1',
    'bind-address-ipv6': '::1',
    'blocklist-enabled': false,
    'dht-enabled': false,
    'download-dir': directory,
    'incomplete-dir-enabled': false,
    'lpd-enabled': false,
    'peer-port': port,
    'pex-enabled': false,
    'port-forwarding-enabled': false,
    'rpc-authentication-required': false,
    'rpc-bind-address': '127.0.0.1',
    'rpc-enabled': true,
    'rpc-port': rpcPort,
    'rpc-whitelist-enabled': false,
    'utp-enabled': true
  }))
  const child = spawn('transmission-daemon', ['--foreground', '--config-dir', configuration], { stdio: 'ignore' })
  const stop = stopper(child)
  t.teardown(stop)
  if (!await hasStarted(child)) throw missing('transmission-daemon')
  await until('Transmission answers', async () => await isListening(rpcPort))
  let session = ''
  const call = async (method: string, args: object): Promise<string> => {
    for (;;) {
      const response = await fetch(`http://127.0.0.1:${rpcPort}/transmission/rpc`, {
        method: 'POST', headers: { 'X-Transmission-Session-Id': session }, body: JSON.stringify({ method, arguments: args })
      })
      const text = await response.text()
      if (response.status !== 409) return text
      session = response.headers.get('X-Transmission-Session-Id') ?? ''
    }
  }
  await call('torrent-add', { metainfo: torrent.torrent.toString('base64'), 'download-dir': directory })
  // 6: it has checked its files, and seeds.
  await until('Transmission seeds', async () => /"status":6/.test(await call('torrent-get', { fields: ['status', 'percentDone'] })))
  return { address: `127.0.0.1:${port}`, stop }
}

/** qBittorrent (Debian: qbittorrent-nox) with the torrent's content, no DHT. It announces to the trackers in the `.torrent`. */
export async function startQbittorrent (t: Test, torrent: TestTorrent): Promise<{ address: string, stop: () => Promise<void> }> {
  const { directory } = await writeContent(t, torrent)
  const profile = await temporaryDirectory(t)
  const port = await freePort()
  const webPort = await freePort()
  const configuration = join(profile, 'qBittorrent', 'config')
  await mkdir(configuration, { recursive: true })
  await writeFile(join(configuration, 'qBittorrent.conf'), [
    '[LegalNotice]', 'Accepted=true',
    // It bans its own address when the tracker tells it of itself, and all others here have the same.
    '[BitTorrent]', `Session\\Port=${port}`, 'Session\\InterfaceAddress=127.0.0.1', 'Session\\DHTEnabled=false', 'Session\\LSDEnabled=false', 'Session\\PeXEnabled=false', 'Session\\QueueingSystemEnabled=false', 'Session\\MultiConnectionsPerIp=true',
    '[Network]', 'PortForwardingEnabled=false',
    '[Preferences]', 'WebUI\\Address=127.0.0.1', `WebUI\\Port=${webPort}`, 'WebUI\\LocalHostAuth=false', 'WebUI\\UseUPnP=false', ''
  ].join('\n'))
  const child = spawn('qbittorrent-nox', [`--profile=${profile}`], { stdio: 'ignore', env: { ...process.env, HOME: profile } })
  const stop = stopper(child)
  t.teardown(stop)
  if (!await hasStarted(child)) throw missing('qbittorrent-nox')
  await until('qBittorrent answers', async () => await isListening(webPort))
  const form = new FormData()
  form.append('torrents', new Blob([new Uint8Array(torrent.torrent)]), 'testnet.torrent')
  for (const [name, value] of [['savepath', directory], ['skip_checking', 'true'], ['contentLayout', 'Original']] as const) form.append(name, value)
  const added = await fetch(`http://127.0.0.1:${webPort}/api/v2/torrents/add`, { method: 'POST', body: form })
  if (!added.ok) throw new Error(`qBittorrent answered ${added.status} ${await added.text()}`)
  await until('qBittorrent seeds', async () => /"state":"(?:stalledUP|uploading)"/.test(await (await fetch(`http://127.0.0.1:${webPort}/api/v2/torrents/info`)).text()))
  return { address: `127.0.0.1:${port}`, stop }
}

export async function hasStarted (child: ChildProcess): Promise<boolean> {
  return await new Promise(resolve => {
    child.once('spawn', () => { resolve(true) })
    child.once('error', () => { resolve(false) })
  })
}

/** Kills the child and waits for its end; twice does nothing more. */
export function stopper (child: ChildProcess): () => Promise<void> {
  const gone = new Promise<void>(resolve => {
    child.once('exit', () => { resolve() })
    child.once('error', () => { resolve() })
  })
  return async () => {
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) child.kill('SIGKILL')
    await gone
  }
}

export async function isListening (port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  try {
    await once(socket, 'connect')
    return true
  } catch {
    return false
  } finally {
    socket.destroy()
  }
}

/** Does this path exist? */
export async function exists (path: string): Promise<boolean> {
  return await access(path).then(() => true, () => false)
}
