/** Packages of the tests that come without types, as far as they are used. */
declare module 'create-torrent' {
  export default function createTorrent (
    input: ReadonlyArray<Buffer & { fullPath?: string, name?: string }>,
    options: { name: string, pieceLength?: number, announceList: ReadonlyArray<readonly string[]>, private?: boolean, urlList?: readonly string[], createdBy?: string, creationDate?: number, filterJunkFiles?: boolean },
    done: (error: Error | null, torrent: Uint8Array) => void
  ): void
}

declare module 'bittorrent-dht' {
  import type { EventEmitter } from 'node:events'

  export class Client extends EventEmitter {
    constructor (options: { bootstrap: readonly string[] | false, host?: string })
    readonly nodes: { count (): number }
    listen (port: number, address: string, done: () => void): void
    address (): { port: number }
    lookup (infohash: string, done: () => void): void
    destroy (done: () => void): void
  }
}
