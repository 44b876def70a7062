import { once } from 'node:events'
import type { Test } from 'tap'
import WebTorrent from 'webtorrent'
import type { ClientOptions, Torrent } from 'webtorrent'
import { writeContent } from '../../testnet.ts'
import type { TestTorrent } from '../../testnet.ts'

/** A WebTorrent in this process that knows nobody, ended with the test. */
export async function startClient (t: Test, options: ClientOptions = {}): Promise<WebTorrent> {
  const client = new WebTorrent({ dht: false, tracker: false, lsd: false, utPex: false, natUpnp: false, natPmp: false, webSeeds: false, ...options })
  client.on('error', () => {})
  t.teardown(async () => {
    // One by one: the client's own callback comes before its torrents have closed their stores.
    for (const torrent of [...client.torrents]) await new Promise<void>(resolve => { torrent.destroy({ destroyStore: false }, resolve) })
    // libutp keeps closed connections for a while, and the process with them.
    client._connPool?.utpServer?.unref()
    client.destroy()
  })
  await once(client, 'listening', { signal: AbortSignal.timeout(20_000) })
  return client
}

export interface Seed {
  readonly torrent: Torrent
  /** `127.0.0.1:port` */
  readonly address: string
}

/** A WebTorrent in this process with the torrent's content. */
export async function startSeed (t: Test, content: TestTorrent, options: ClientOptions = {}): Promise<Seed> {
  const { directory } = await writeContent(t, content)
  const client = await startClient(t, options)
  const torrent = client.add(content.torrent, { path: directory })
  torrent.on('error', (error: Error) => { t.fail(error.message) })
  await once(torrent, 'done', { signal: AbortSignal.timeout(20_000) })
  return { torrent, address: `127.0.0.1:${client.torrentPort}` }
}
