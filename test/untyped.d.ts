/** Packages of the tests that come without types, as far as they are used. */
declare module 'create-torrent' {
  export default function createTorrent (
    input: ReadonlyArray<Buffer & { fullPath?: string, name?: string }>,
    options: { name: string, pieceLength?: number, announceList: ReadonlyArray<readonly string[]>, private?: boolean, urlList?: readonly string[], createdBy?: string, creationDate?: number, filterJunkFiles?: boolean },
    done: (error: Error | null, torrent: Uint8Array) => void
  ): void
}
