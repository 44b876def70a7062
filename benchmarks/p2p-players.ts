// Who plays from a swarm on loopback in benchmarks/p2p.ts: Self-Streme, WebTorrent's own server, libtorrent.
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { readFile, readdir, writeFile } from 'node:fs/promises'
import { get } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { Server as TrackerServer } from 'bittorrent-tracker'
import { encode } from '../services/torrent/bencode.ts'
import { cpuSeconds, end, startService } from './servers.ts'

export type Transport = 'tcp' | 'utp'

export interface SeededTorrent {
  readonly infohash: string
  readonly magnet: string
  readonly tracker: string
  readonly pieceLength: number
  readonly torrentPath: string
}

/** A process that is ready to be told of a torrent. Times are milliseconds, from when it was told. */
export interface Player {
  /** Begins to play the torrent from its beginning. Resolves with what the first byte took. */
  play (torrent: SeededTorrent): Promise<number>
  /** What is being played has come to its end. */
  played (): Promise<void>
  /** Plays on from the beginning of this piece instead; resolves as `play`. */
  seek (piece: number): Promise<number>
  /** Of all its processes, so far. */
  cpuSeconds (): Promise<number>
  end (): Promise<void>
}

/** Starts a player that keeps what it downloads in this directory. */
export type StartPlayer = (directory: string, transport: Transport, tracker: string) => Promise<Player>

export const players: Readonly<Record<'self-streme' | 'WebTorrent' | 'libtorrent', StartPlayer>> = {
  'self-streme': async (directory, _transport, tracker) => {
    const { child, origin } = await startSelfStreme(directory, tracker)
    return { ...httpPlayer(async ({ infohash }) => `${origin}/stream/proxy/${infohash}`), ...processOf(child) }
  },

  WebTorrent: async (directory, transport) => {
    const { child, port, said } = await startListener(process.execPath, [join(import.meta.dirname, 'webtorrent-server.ts'), directory, transport])
    return {
      ...httpPlayer(async ({ magnet }) => {
        child.stdin?.write(`${magnet}\n`)
        const path = (await said(/^ready at (.+)$/))[1] ?? ''
        return `http://127.0.0.1:${port}${path}`
      }),
      ...processOf(child)
    }
  },

  libtorrent: async (directory, transport) => {
    const { child, said } = await startListener('/usr/bin/python3', [join(import.meta.dirname, 'libtorrent-client.py'), directory, transport])
    const tell = async (command: string, answer: RegExp): Promise<number> => {
      const before = performance.now()
      child.stdin?.write(`${command}\n`)
      await said(answer)
      return performance.now() - before
    }
    return {
      play: async ({ magnet }) => await tell(`add ${magnet}`, /^first$/),
      played: async () => { await said(/^done$/) },
      seek: async (piece) => await tell(`seek ${piece}`, /^piece$/),
      ...processOf(child)
    }
  }
}

/** Self-Streme that has nobody but this tracker, its swarm ready. */
export async function startSelfStreme (directory: string, tracker: string, env: Readonly<Record<string, string>> = {}): Promise<{ child: ChildProcess, origin: string }> {
  const service = await startService(directory, {
    TRACKERS: tracker,
    DHT_BOOTSTRAP: 'none',
    STUN_SERVERS: 'none',
    TORRENT_METADATA_URLS: 'none',
    TORRENT_PORT: '0',
    ENABLE_HTTP_FALLBACK: 'false',
    HTTP_ALLOW_PRIVATE_NETWORKS: 'true',
    ...env
  })
  for (;;) {
    const text = await (await fetch(`${service.origin}/ready`)).text()
    if (text.includes('"state":"ready"')) return service
    await sleep(20)
  }
}

function httpPlayer (urlOf: (torrent: SeededTorrent) => Promise<string>): Pick<Player, 'play' | 'played' | 'seek'> {
  let url = ''
  let pieceLength = 0
  let response: IncomingMessage | null = null
  const ask = async (start: number): Promise<void> => {
    const request = get(url, { headers: { range: `bytes=${start}-` } })
    const [answer]: IncomingMessage[] = await once(request, 'response')
    if (answer?.statusCode !== 206) throw new Error(`${url} answers ${answer?.statusCode}: ${answer === undefined ? '' : await text(answer)}`)
    response = answer
    answer.on('error', () => {})
    await once(answer, 'data')
  }
  return {
    play: async (torrent) => {
      const before = performance.now();
      ({ pieceLength } = torrent)
      url = await urlOf(torrent)
      await ask(0)
      return performance.now() - before
    },
    played: async () => { if (response !== null && !response.readableEnded) await once(response, 'end') },
    seek: async (piece) => {
      const before = performance.now()
      response?.destroy()
      await ask(piece * pieceLength)
      return performance.now() - before
    }
  }
}

function processOf (child: ChildProcess): Pick<Player, 'cpuSeconds' | 'end'> {
  return { cpuSeconds: async () => await treeCpuSeconds(child), end: async () => { await end(child) } }
}

/** What a process and its children have used. */
export async function treeCpuSeconds (root: { readonly pid?: number | undefined }): Promise<number> {
  const parents = new Map<number, number>()
  for (const name of await readdir('/proc').catch(() => [])) {
    if (!/^\d+$/.test(name)) continue
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    parents.set(Number(name), Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]))
  }
  const isIn = (pid: number | undefined): boolean => pid !== undefined && pid > 1 && (pid === root.pid || isIn(parents.get(pid)))
  const seconds = await Promise.all([...parents.keys()].filter(isIn).map(async (pid) => await cpuSeconds({ pid })))
  return seconds.reduce((sum, one) => sum + one, 0)
}

interface Listener {
  readonly child: ChildProcess
  readonly port: number
  /** Resolves with the next line like this, of those that nobody has asked for yet. */
  said (line: RegExp): Promise<RegExpExecArray>
}

async function startListener (program: string, options: readonly string[]): Promise<Listener> {
  const child = spawn(program, options, { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.on('error', () => {})
  const lines: string[] = []
  const input = createInterface({ input: child.stdout })
  input.on('line', (line) => { lines.push(line) })
  const said = async (wanted: RegExp): Promise<RegExpExecArray> => {
    for (;;) {
      for (const [i, line] of lines.entries()) {
        const match = wanted.exec(line)
        if (match === null) continue
        lines.splice(i, 1)
        return match
      }
      if (child.exitCode !== null) throw new Error(`${program} ended before it said ${wanted.source}`)
      await Promise.race([once(input, 'line'), once(child, 'exit')])
    }
  }
  const port = Number((await said(/^listening on port (\d+)$/))[1])
  return { child, port, said }
}

/** A tracker on loopback. */
export async function startTracker (): Promise<{ url: string, close: () => Promise<void>, hasPeer: (infohash: string) => boolean }> {
  const server = new TrackerServer({ http: true, udp: false, ws: false, stats: false })
  await new Promise<void>(resolve => { server.listen(0, '127.0.0.1', resolve) })
  const address = server.http?.address()
  if (typeof address !== 'object' || address === null) throw new Error('the tracker does not listen')
  return {
    url: `http://127.0.0.1:${address.port}/announce`,
    hasPeer: (infohash) => (server.torrents[infohash]?.peers.keys.length ?? 0) > 0,
    close: async () => { await new Promise<void>(resolve => { server.close(resolve) }) }
  }
}

/** The `.torrent` of this file, beside it; the tracker's address makes each one another torrent. */
export async function makeTorrent (path: string, lengthBytes: number, pieceLength: number, tracker: string, label: string): Promise<SeededTorrent> {
  const hashes: Buffer[] = []
  for await (const piece of createReadStream(path, { highWaterMark: pieceLength })) hashes.push(createHash('sha1').update(piece).digest())
  const info = new Map<string, string | number | Buffer>([['length', lengthBytes], ['name', 'film.mkv'], ['piece length', pieceLength], ['pieces', Buffer.concat(hashes)], ['source', label]])
  const infohash = createHash('sha1').update(encode(info)).digest('hex')
  const torrentPath = `${path}.${label}.torrent`
  await writeFile(torrentPath, encode(new Map<string, string | typeof info>([['announce', tracker], ['info', info]])))
  return { infohash, torrentPath, pieceLength, tracker, magnet: `magnet:?xt=urn:btih:${infohash}&tr=${encodeURIComponent(tracker)}` }
}

/** libtorrent with all of it, known to the tracker. `limit`: bytes a second. */
export async function startSeeder (directory: string, torrent: SeededTorrent, transport: Transport, limit: number, isKnown: () => boolean): Promise<() => Promise<void>> {
  const script = join(import.meta.dirname, '..', 'test', 'system', 'seeder.py')
  const child = spawn('/usr/bin/python3', [script, '--torrent', torrent.torrentPath, '--content', directory, '--transport', transport, '--upload-limit', String(limit), '--passive'], { stdio: ['pipe', 'ignore', 'inherit'] })
  while (!isKnown()) {
    if (child.exitCode !== null) throw new Error('the seeder does not start: is python3-libtorrent installed?')
    await sleep(20)
  }
  return async () => { await end(child) }
}
