import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { LabHost } from './lab.ts'
import { startServer } from './server-process.ts'
import type { ServerProcess } from './server-process.ts'
import { startSeederOf, temporaryDirectory, until } from './testnet.ts'
import type { SeederChoices, TestSeeder, TestTorrent } from './testnet.ts'

/** BitTorrent in the laboratory: our server and libtorrent on its hosts. All listen for BitTorrent on port 6881. */

export const torrentPort = 6881

/** libtorrent on this host, with these torrents of one file each; with their content unless it is a leech. */
export async function startSeederOn (t: Test, host: LabHost, torrents: readonly TestTorrent[], choices: SeederChoices = {}): Promise<TestSeeder> {
  const directory = await temporaryDirectory(t)
  const torrentPath = torrents.map(({ infohash }) => join(directory, `${infohash}.torrent`))
  for (const [i, { torrent, metadata, files }] of torrents.entries()) {
    await writeFile(torrentPath[i] ?? '', torrent)
    if (choices.isLeech !== true) await writeFile(join(directory, metadata.name), files[0]?.bytes ?? '')
  }
  return await startSeederOf(t, { directory, torrentPath }, { address: host.address, port: torrentPort, start: (args) => host.spawn('/usr/bin/python3', args), ...choices })
}

/** The whole server on this host, which knows nobody but whom `env` names. */
export async function startServerOn (t: Test, host: LabHost, env: Record<string, string>): Promise<ServerProcess> {
  return await startServer(t, { PORT: '11470', TORRENT_PORT: String(torrentPort), ...env }, undefined, (command, args, options) => host.spawn(command, args, options))
}

export interface LabAnswer {
  readonly status: number
  /** `X-Stream-Source` */
  readonly source: string
  readonly body: Buffer
  /** Seconds from the request. */
  readonly firstByte: number
  readonly total: number
}

/** Asks a server on this host, from this host, by curl. */
export async function askOn (t: Test, host: LabHost, path: string, limitSeconds: number): Promise<LabAnswer> {
  const directory = await temporaryDirectory(t)
  await mkdir(directory, { recursive: true })
  const file = join(directory, 'body')
  const format = '%{http_code} %{time_starttransfer} %{time_total} %header{x-stream-source}'
  const text = await host.run('curl', ['-s', '-m', String(limitSeconds), '-o', file, '-w', format, `http://127.0.0.1:11470${path}`], { limitMs: (limitSeconds + 5) * 1_000 })
  const [status, firstByte, total, source = ''] = text.split(' ')
  return { status: Number(status), firstByte: Number(firstByte), total: Number(total), source, body: await readFile(file).catch(() => Buffer.alloc(0)) }
}

/** Resolves when the server on this host has its ports: a peer that comes before is turned away, and may not come back for a minute. */
export async function swarmReadyOn (t: Test, host: LabHost): Promise<void> {
  await until('its ports are open', async () => {
    const { status, body } = await askOn(t, host, '/api/network', 5)
    return status === 200 && JSON.parse(body.toString()).data.ports.utp !== null
  })
}

/** Resolves when the server on this host runs this torrent, for the same reason. */
export async function torrentOn (t: Test, host: LabHost, infohash: string): Promise<void> {
  await until('it runs the torrent', async () => (await askOn(t, host, `/api/torrents/${infohash}`, 5)).status === 200)
}
