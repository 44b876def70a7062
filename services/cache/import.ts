import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'

import { CodedError } from '../errors.ts'
import type { Log } from '../log.ts'
import { makeTorrent } from '../torrent/make-torrent.ts'
import { parseMetadata } from '../torrent/metadata.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'
import { safeFileName, storedFileName } from '../torrent/safe-file-name.ts'
import { writeFileAtomically } from '../write-file.ts'
import { checkFile } from './check-file.ts'
import { isSameFile } from './disk-file.ts'
import type { FileIdentity } from './disk-file.ts'
import { Refusal, candidatesFor, infohashInPath, lookAtSource, matchSources, mediaIn } from './import-sources.ts'
import type { ImportSource } from './import-sources.ts'
import { identityAt, placeFile } from './place-file.ts'
import { PlacedVerdicts } from './placed-verdicts.ts'
import type { PlacedVerdict } from './placed-verdicts.ts'
import { stateFolder } from './stored-files.ts'

export interface ImportRequest {
  /** Files and folders. */
  readonly paths: readonly string[]
  /** Folders of an older deployment, where names say which torrent each file is of. */
  readonly adopt: readonly string[]
  /** The torrent that all the files are of, 40 lower-case hex digits; null: each becomes a torrent of its own. */
  readonly infohash: string | null
  /** That torrent, where its `.torrent` is at hand. */
  readonly metadata: Metadata | null
  /** Never a hard link: the originals may be written to later. */
  readonly copy: boolean
}

export interface ImporterOptions {
  /** The download directory. */
  readonly directory: string
  readonly signal: AbortSignal
  readonly log: Log
  /** Work on a file begins: its bytes are hashed, or copied. */
  readonly onFile?: (work: 'hashing' | 'copying', path: string, lengthBytes: number) => void
  /** So many bytes of it are done since the last call. */
  readonly onBytes?: (bytes: number) => void
}

/** What became of a file that was given, or (`skipped`) how many of a folder's videos are named by no infohash. */
export type ImportResult = ImportedFile | RefusedFile | { readonly kind: 'skipped', readonly path: string, readonly count: number }

export interface ImportedFile {
  readonly kind: 'imported'
  readonly path: string
  readonly infohash: string
  /** Which file of the torrent; null: nobody knows. */
  readonly fileIndex: number | null
  /** The torrent has other files, too. */
  readonly isOneOfMany: boolean
  readonly name: string
  /** Where it is now. */
  readonly target: string
  readonly how: 'linked' | 'copied' | 'already there'
  /** `in part`: all but the pieces that it shares with files that were not given. */
  readonly checked: 'verified' | 'in part' | 'not verified'
}

export interface RefusedFile {
  readonly kind: 'refused'
  readonly path: string
  /** Why, and what to do. */
  readonly reason: string
}

/**
 * Puts files into the download directory as people may do it by hand: as `{infohash}-{name}`, a hard link where the disk
 * allows, else a copy that gets its name when it is complete; never over another file. They are placed files, not
 * downloads: no limit of the cache deletes them.
 *
 * The metadata goes to `.self-streme/torrents/`, what hashing has shown to `.self-streme/verified/` (placed-verdicts.ts),
 * both before the file has its name. A running server looks there when it finds the file: nobody has to tell it, and the
 * file is verified from its first byte. What is written is written whole and replaces nothing, so an import needs no lock.
 */
export class Importer {
  readonly #directory: string
  readonly #options: ImporterOptions
  readonly #verdicts: PlacedVerdicts

  constructor (options: ImporterOptions) {
    this.#directory = resolve(options.directory)
    this.#options = options
    this.#verdicts = new PlacedVerdicts({ directory: this.#directory, log: options.log })
  }

  /** A result for each file, as soon as it is there. Throws the signal's reason. */
  async * import ({ paths, adopt, infohash, metadata, copy }: ImportRequest): AsyncGenerator<ImportResult> {
    const files: string[] = []
    for (const path of paths) {
      const media = await mediaIn(path)
      if (media?.length === 0) yield refused(path, 'there is no video in this folder')
      files.push(...media ?? [path])
    }
    const known = metadata ?? (infohash === null ? null : await this.#keptMetadata(infohash))
    const others = known === null ? new Map<number, string>() : await matchSources(files, known)
    for (const path of files) {
      yield await this.#attempt(path, async (source) => {
        if (known !== null) return await this.#placeAs(source, known, copy, others)
        return infohash === null ? await this.#placeAsOwn(source, copy) : await this.#placeUnchecked(source, infohash, copy)
      })
    }
    for (const folder of adopt) yield * this.#adopt(folder, copy)
  }

  async * #adopt (folder: string, copy: boolean): AsyncGenerator<ImportResult> {
    const files = await mediaIn(folder)
    if (files === null) return yield refused(folder, 'it is no folder: --adopt takes the one where an older version kept its files, such as ./temp')
    const ofTorrents = Map.groupBy(files, (path) => infohashInPath(relative(folder, path)))
    for (const [infohash, paths] of ofTorrents) {
      if (infohash === null) continue
      const known = await this.#keptMetadata(infohash)
      const others = known === null ? new Map<number, string>() : await matchSources(paths, known)
      for (const path of paths) {
        yield await this.#attempt(path, async (source) => known === null
          ? await this.#placeUnchecked(source, infohash, copy)
          : await this.#placeAs(source, known, copy, others))
      }
    }
    const nameless = ofTorrents.get(null)?.length ?? 0
    if (nameless > 0 || files.length === 0) yield { kind: 'skipped', path: folder, count: nameless }
  }

  async #attempt (path: string, place: (source: ImportSource) => Promise<ImportedFile>): Promise<ImportResult> {
    try {
      return await place(await lookAtSource(path))
    } catch (error) {
      this.#options.signal.throwIfAborted()
      if (error instanceof Refusal || error instanceof CodedError) return refused(path, error.message)
      if (error instanceof Error && 'code' in error) return refused(path, reasonOf(error, this.#directory))
      throw error
    }
  }

  /** The torrent of this file alone. */
  async #placeAsOwn (source: ImportSource, copy: boolean): Promise<ImportedFile> {
    const { signal, onFile, onBytes = () => {} } = this.#options
    const inPath = infohashInPath(basename(source.path))
    if (inPath !== null && dirname(source.realPath) === this.#directory) {
      throw new Refusal(`it is in the cache already, as ${inPath}: with --infohash ${inPath} it is checked`)
    }
    onFile?.('hashing', source.path, source.identity.lengthBytes)
    const { torrent, identity } = await makeTorrent(source.path, { signal, onBytes })
    const metadata = parseMetadata(torrent)
    const [file] = metadata.files
    if (file === undefined) throw new Error('the torrent of a file has a file')
    return await this.#place({ ...source, identity }, metadata, file, { result: 'match', fileIndex: file.index, uncheckedPieces: [] }, copy)
  }

  /** A file of this torrent: its bytes have to show which. */
  async #placeAs (source: ImportSource, metadata: Metadata, copy: boolean, others: ReadonlyMap<number, string>): Promise<ImportedFile> {
    const { signal, onFile, onBytes = () => {} } = this.#options
    const { infohash, pieceCount } = metadata
    const { lengthBytes } = source.identity
    const candidates = candidatesFor(source.path, lengthBytes, metadata)
    if (candidates.length === 0) throw new Refusal(`it has ${lengthBytes} bytes, and torrent ${infohash} has no such file (${describeFiles(metadata)}): it is incomplete, or of another torrent`)
    let reason = ''
    for (const file of candidates) {
      onFile?.('hashing', source.path, lengthBytes)
      const { identity, good, bad, unchecked, doubtful } = await checkFile(source.realPath, metadata, file.index, { signal, onBytes, others, stopAtFirst: true })
      const [wrong] = bad
      if (wrong === undefined && good.length > 0) {
        const uncheckedPieces = [...unchecked, ...doubtful]
        const result = uncheckedPieces.length === 0 ? 'match' : 'partial'
        return await this.#place({ ...source, identity }, metadata, file, { result, fileIndex: file.index, uncheckedPieces }, copy)
      }
      reason ||= wrong === undefined
        ? `it shares all its pieces with other files of torrent ${infohash}, so nothing of it can be checked: give those files, too`
        : `piece ${wrong} of ${pieceCount} is not that of ${file.path} in torrent ${infohash}: it is damaged, incomplete, or of another torrent`
    }
    throw new Refusal(reason)
  }

  async #place (source: ImportSource, metadata: Metadata, file: TorrentFile, verdict: PlacedVerdict, copy: boolean): Promise<ImportedFile> {
    const { infohash } = metadata
    await this.#keepMetadata(metadata)
    const target = join(this.#directory, storedFileName(infohash, file, metadata))
    const beforeNamed = async (identity: FileIdentity): Promise<void> => { await this.#verdicts.add(infohash, identity, verdict) }
    const there = await identityAt(target)
    if (there !== null) await this.#checkThere(source, target, there)
    const how = there === null ? await this.#put(source, target, copy, beforeNamed) : 'already there'
    if (there !== null) await beforeNamed(there)
    return {
      kind: 'imported',
      path: source.path,
      infohash,
      fileIndex: file.index,
      isOneOfMany: metadata.files.length > 1,
      name: file.name,
      target,
      how,
      checked: verdict.result === 'match' ? 'verified' : 'in part'
    }
  }

  /** The name is taken: well, if it is the same file, or has the same bytes. Throws Refusal. */
  async #checkThere (source: ImportSource, target: string, there: FileIdentity): Promise<void> {
    if (isSameFile(there, source.identity)) return
    const hasSameLength = there.lengthBytes === source.identity.lengthBytes
    if (!hasSameLength || !await hasSameBytes(source.realPath, target, this.#options.signal) || !isSameFile(there, await identityAt(target) ?? source.identity)) {
      throw new Refusal(`another file has its name already: compare it with ${target}, and remove the wrong one`)
    }
  }

  async #placeUnchecked (source: ImportSource, infohash: string, copy: boolean): Promise<ImportedFile> {
    const name = safeFileName(basename(source.path))
    const target = join(this.#directory, name.toLowerCase().includes(infohash) ? name : `${infohash}-${name}`)
    const there = await identityAt(target)
    if (there !== null) await this.#checkThere(source, target, there)
    const how = there === null ? await this.#put(source, target, copy, async () => {}) : 'already there'
    return { kind: 'imported', path: source.path, infohash, fileIndex: null, isOneOfMany: false, name, target, how, checked: 'not verified' }
  }

  async #put ({ path, realPath, identity }: ImportSource, target: string, copy: boolean, beforeNamed: (identity: FileIdentity) => Promise<void>): Promise<'linked' | 'copied'> {
    const { signal, onFile, onBytes = () => {} } = this.#options
    let hasBegun = false
    return await placeFile(realPath, identity, target, {
      signal,
      copy,
      beforeNamed,
      temporaryFolder: join(this.#directory, stateFolder, 'importing'),
      onBytes: (bytes) => {
        if (!hasBegun) onFile?.('copying', path, identity.lengthBytes)
        hasBegun = true
        onBytes(bytes)
      }
    })
  }

  async #keptMetadata (infohash: string): Promise<Metadata | null> {
    try {
      return parseMetadata(await readFile(this.#metadataPath(infohash)), infohash)
    } catch {
      return null // none, or damaged: then nothing is known of the torrent
    }
  }

  /** What is kept already stays: it may have trackers. */
  async #keepMetadata (metadata: Metadata): Promise<void> {
    if (await this.#keptMetadata(metadata.infohash) === null) await writeFileAtomically(this.#metadataPath(metadata.infohash), metadata.torrent)
  }

  #metadataPath (infohash: string): string {
    return join(this.#directory, stateFolder, 'torrents', `${infohash}.torrent`)
  }
}

function refused (path: string, reason: string): RefusedFile {
  return { kind: 'refused', path, reason }
}

async function hasSameBytes (a: string, b: string, signal: AbortSignal): Promise<boolean> {
  const [hashA, hashB] = await Promise.all([a, b].map(async (path) => {
    const hash = createHash('sha1')
    await pipeline(createReadStream(path), hash, { signal })
    return hash.digest('hex')
  }))
  return hashA === hashB
}

function describeFiles ({ files }: Metadata): string {
  const offered = files.filter(({ isPadding }) => !isPadding)
  const shown = offered.slice(0, 3).map(({ name, lengthBytes }) => `${name} has ${lengthBytes}`)
  return offered.length > shown.length ? `${shown.join(', ')}, and ${offered.length - shown.length} more` : shown.join(', ')
}

function reasonOf (error: Error & { code?: unknown }, directory: string): string {
  switch (error.code) {
    case 'ENOENT': return 'there is no such file'
    case 'EACCES': case 'EPERM': return `it cannot be read, or ${directory} cannot be written: ask for the rights, or run this as the server's user`
    case 'ENOSPC': case 'EDQUOT': return `${directory} is full: make room, or put the file on the same disk, where it can be linked`
    case 'EROFS': return `${directory} is read-only`
    default: return error.message
  }
}
