/** Packages of the tests that come without types, as far as they are used. */
declare module 'create-torrent' {
  export default function createTorrent (
    input: ReadonlyArray<Buffer & { fullPath?: string, name?: string }>,
    options: { name: string, pieceLength?: number, announceList: ReadonlyArray<readonly string[]>, private?: boolean, urlList?: readonly string[], createdBy?: string, creationDate?: number, filterJunkFiles?: boolean },
    done: (error: Error | null, torrent: Uint8Array) => void
  ): void
}

declare module 'stremio-addon-linter' {
  interface Verdict { readonly valid: boolean, readonly errors: readonly Error[], readonly warnings: readonly Error[] }
  const linter: {
    lintManifest: (manifest: unknown) => Verdict
    lintCollection: (collection: unknown) => Verdict
  }
  export default linter
}

declare module 'stremio-addon-client' {
  export interface AddonClient {
    readonly manifest: { readonly catalogs: ReadonlyArray<{ readonly type: string, readonly id: string }> }
    // eslint-disable-next-line @typescript-eslint/no-explicit-any
    get: (resource: string, type: string, id: string, extra?: Readonly<Record<string, string>>) => Promise<any>
    isSupported: (resource: string, type: string, id: string) => boolean
  }
  const client: { detectFromURL: (url: string) => Promise<{ readonly addon: AddonClient }> }
  export default client
}
