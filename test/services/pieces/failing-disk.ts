import fs from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import { dirname, join, relative, resolve, sep } from 'node:path'
import type { Random } from './torrent.ts'

/*
 * A disk that loses its power: what the program does below a directory is written down, and can be played again up to
 * any moment, as a machine would find it that was switched off then. A kill keeps the page cache, so only this shows
 * whether things are brought to the disk in the right order.
 *
 * The functions of node:fs/promises are replaced for the whole process, and do nothing new outside of such directories.
 * What a test does not use is refused below them, so that nothing goes unrecorded.
 */

type Effect =
  | { readonly kind: 'write', readonly inode: number, readonly offset: number, readonly bytes: Buffer }
  | { readonly kind: 'truncate', readonly inode: number, readonly length: number }
  | { readonly kind: 'sync', readonly inode: number }
  | { readonly kind: 'create', readonly inode: number, readonly path: string, readonly isDirectory: boolean }
  | { readonly kind: 'rename', readonly inode: number, readonly from: string, readonly path: string }
  | { readonly kind: 'unlink', readonly path: string }
  | { readonly kind: 'syncDirectory', readonly path: string }

/** What was done, and when: from `begin` on it may have happened, from `end` on it has. */
interface Operation {
  readonly effect: Effect
  readonly begin: number
  end: number
  /** Which change of names came before which, whenever they began and ended. */
  order: number
}

interface Inode {
  readonly number: number
  /** What it held when the recording began. */
  readonly content: Buffer
  /** Instead of a time: how often it was changed. */
  changes: number
}

/** What a disk holds: directories, and files by their path. */
export interface DiskState {
  readonly directories: readonly string[]
  readonly files: ReadonlyMap<string, { readonly inode: number, readonly changes: number, readonly content: Buffer }>
}

/** `killed`: the system lives on, and all that was done is there. `powerless`: what was not synced may be there or not. */
export type Failure = 'killed' | 'powerless'

const recorded = new Set<FailingDisk>()
const handles = new WeakMap<FileHandle, { disk: FailingDisk, inode: number, directory: string | null }>()
const real = { ...fs }
const { prototype: handlePrototype, methods: realHandle } = await realHandleMethods()
let lastInode = 0

export class FailingDisk {
  readonly root: string
  readonly #operations: Operation[] = []
  readonly #inodes = new Map<number, Inode>()
  readonly #names = new Map<string, number>()
  /** By the number that the real disk gave them: a file may get another name while it is opened. */
  readonly #realInodes = new Map<bigint, number>()
  readonly #initialNames: ReadonlyMap<string, number>
  readonly #initialDirectories: readonly string[]
  /** When each operation was on the disk for sure. Known once the recording has ended. */
  readonly #safeAt = new Map<Operation, number>()
  readonly #pause: () => Promise<void>
  #now = 0
  #changing: Promise<void> = Promise.resolve()
  #changeCount = 0

  private constructor (root: string, state: DiskState, pause: () => Promise<void>) {
    this.root = resolve(root)
    this.#pause = pause
    for (const [path, { inode, changes, content }] of state.files) {
      this.#inodes.set(inode, { number: inode, content, changes })
      this.#names.set(path, inode)
    }
    this.#initialNames = new Map(this.#names)
    this.#initialDirectories = state.directories
  }

  /**
   * Makes the directory hold this (by default nothing), and writes down all that is done in it until stop(). `pause`: what
   * each operation waits for before and after it is done, so that many are under way at the same time.
   */
  static async begin (root: string, state: DiskState = { directories: [], files: new Map() }, pause = async (): Promise<void> => {}): Promise<FailingDisk> {
    const disk = new FailingDisk(root, state, pause)
    await real.mkdir(disk.root, { recursive: true })
    for (const directory of state.directories) await real.mkdir(join(disk.root, directory), { recursive: true })
    for (const [path, { content, inode }] of state.files) {
      await real.writeFile(join(disk.root, path), content)
      disk.#realInodes.set((await real.lstat(join(disk.root, path), { bigint: true })).ino, inode)
    }
    recorded.add(disk)
    install()
    return disk
  }

  /** Ends the recording; the functions are the real ones again after the last one that ends. */
  stop (): void {
    if (recorded.delete(this) && recorded.size === 0) restore()
  }

  /** Ends the recording. Throws when the disk holds something that was not recorded. */
  async end (): Promise<void> {
    this.stop()
    const state = this.stateAt(this.#now, 'killed', () => 0)
    for (const [path, { content }] of state.files) {
      if (!(await real.readFile(join(this.root, path))).equals(content)) throw new Error(`${path} was changed behind the recording`)
    }
    const entries = await real.readdir(this.root, { recursive: true, withFileTypes: true })
    const files = entries.filter(entry => entry.isFile()).map(({ parentPath, name }) => relative(this.root, join(parentPath, name)))
    for (const path of files) if (!state.files.has(path)) throw new Error(`${path} was made behind the recording`)
  }

  /** This moment: everything that was done has happened. Moments are counted from 0 on. */
  get now (): number {
    return this.#now
  }

  /** How many operations were recorded. */
  get operationCount (): number {
    return this.#operations.length
  }

  /**
   * What a machine finds that failed at this moment; asked after the end of the recording. The same random numbers give
   * the same. `liesAbout`: files of which bytes may be lost that were synced.
   */
  stateAt (moment: number, failure: Failure, random: Random, liesAbout = (_path: string): boolean => false): DiskState {
    const chance = [0, 30, 70, 100][random(4)] ?? 0
    const isOrdered = random(2) === 0
    const hasHappened = (operation: Operation) => {
      if (operation.begin > moment) return false
      // What was under way.
      if (operation.end > moment) return random(2) === 0
      return failure === 'killed' || this.#isSafe(operation, moment) || random(100) < chance
    }
    const directories = new Set(this.#initialDirectories)
    const names = new Map(this.#initialNames)
    const changes = this.#operations.filter(({ effect }) => changesNames(effect)).sort((a, b) => a.order - b.order)
    // A journal loses the last changes of names only; without one, any may be lost.
    const lastSafe = isOrdered ? changes.findLastIndex(operation => operation.end <= moment && this.#isSafe(operation, moment)) : -1
    let isLost = false
    for (const [index, operation] of changes.entries()) {
      if (index > lastSafe && (isLost || !hasHappened(operation))) {
        // Only a loss of power loses the end of a journal: after a kill, what had ended is there, whatever was under way.
        isLost = isOrdered && failure === 'powerless'
        continue
      }
      const { effect } = operation
      if (effect.kind === 'create' && effect.isDirectory) directories.add(effect.path)
      else if (effect.kind === 'create') names.set(effect.path, effect.inode)
      else if (effect.kind === 'rename') {
        if (names.get(effect.from) === effect.inode) names.delete(effect.from)
        names.set(effect.path, effect.inode)
      } else if (effect.kind === 'unlink') names.delete(effect.path)
    }
    const isReachable = (path: string): boolean => dirname(path) === '.' || (directories.has(dirname(path)) && isReachable(dirname(path)))
    const files = new Map<string, { inode: number, changes: number, content: Buffer }>()
    for (const [path, inode] of names) {
      if (!isReachable(path)) continue
      const isLying = liesAbout(path)
      files.set(path, this.#inodeAt(inode, {
        isOver: operation => operation.end <= moment && !isLying && (failure === 'killed' || this.#isSafe(operation, moment)),
        hasHappened: operation => isLying ? operation.begin <= moment && random(100) < chance : hasHappened(operation),
        hasBegun: operation => operation.begin <= moment
      }, random))
    }
    return { directories: [...directories].filter(isReachable), files }
  }

  #inodeAt (number: number, { isOver, hasHappened, hasBegun }: Record<'isOver' | 'hasHappened' | 'hasBegun', (operation: Operation) => boolean>, random: Random): { inode: number, changes: number, content: Buffer } {
    const inode = this.#inode(number)
    let content = inode.content
    let changes = inode.changes - this.#operations.filter(({ effect }) => isChange(effect, number)).length
    for (const operation of this.#operations) {
      const { effect } = operation
      if (!isChange(effect, number)) continue
      if (!hasHappened(operation)) {
        // The time of the change may be on the disk, and the change not.
        if (hasBegun(operation) && random(2) === 0) changes++
        continue
      }
      const isWhole = isOver(operation)
      // And the other way round.
      if (isWhole || random(2) === 0) changes++
      content = apply(content, effect, isWhole ? null : random)
    }
    return { inode: number, changes, content }
  }

  /** Was it brought to the disk before this moment? */
  #isSafe (operation: Operation, moment: number): boolean {
    let safeAt = this.#safeAt.get(operation)
    if (safeAt === undefined) this.#safeAt.set(operation, safeAt = this.#whenSafe(operation))
    return safeAt <= moment
  }

  #whenSafe ({ effect, end }: Operation): number {
    const syncedAt = (isMeant: (sync: Effect) => boolean) => Math.min(...this.#operations.filter(sync => sync.begin >= end && isMeant(sync.effect)).map(sync => sync.end))
    if (effect.kind === 'write' || effect.kind === 'truncate') return syncedAt(sync => sync.kind === 'sync' && sync.inode === effect.inode)
    const paths = effect.kind === 'rename' ? [effect.from, effect.path] : 'path' in effect ? [effect.path] : []
    return Math.max(...paths.map(path => syncedAt(sync => sync.kind === 'syncDirectory' && sync.path === dirname(path))))
  }

  #inode (number: number): Inode {
    const inode = this.#inodes.get(number)
    if (inode === undefined) throw new Error(`no inode ${number}`)
    return inode
  }

  /** For the replaced functions: does something, and writes down from when to when. */
  async record<T> (effect: Effect, work: () => Promise<T>): Promise<T> {
    const operation = { effect, begin: ++this.#now, end: Infinity, order: Infinity }
    this.#operations.push(operation)
    if (effect.kind === 'write' || effect.kind === 'truncate') this.#inode(effect.inode).changes++
    await this.#pause()
    const result = await (changesNames(effect) ? this.#inOrder(operation, work) : work())
    await this.#pause()
    operation.end = ++this.#now
    return result
  }

  async #inOrder<T> (operation: Operation, work: () => Promise<T>): Promise<T> {
    const before = this.#changing
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#changing = promise
    try {
      await before
      operation.order = ++this.#changeCount
      return await work()
    } finally {
      resolve()
    }
  }

  /** For the replaced functions: the path below the root; null for one that is not. */
  within (path: unknown): string | null {
    if (typeof path !== 'string') return null
    const inside = relative(this.root, resolve(path))
    return inside === '..' || inside.startsWith(`..${sep}`) ? null : inside
  }

  inodeOf (path: string): number | undefined {
    return this.#names.get(path)
  }

  inodeOfReal (realInode: bigint): number | undefined {
    return this.#realInodes.get(realInode)
  }

  changesOf (inode: number): number {
    return this.#inode(inode).changes
  }

  /** `realInode`: null for a directory. */
  async create (path: string, realInode: bigint | null): Promise<number> {
    const inode = ++lastInode
    await this.record({ kind: 'create', inode, path, isDirectory: realInode === null }, async () => {
      if (realInode === null) return
      this.#realInodes.set(realInode, inode)
      this.#inodes.set(inode, { number: inode, content: Buffer.alloc(0), changes: 0 })
      this.#names.set(path, inode)
    })
    return inode
  }

  async rename (from: string, path: string, work: () => Promise<void>): Promise<void> {
    const inode = this.#names.get(from)
    // A file that is not there, or a directory: not what a store renames.
    if (inode === undefined) return await work()
    await this.record({ kind: 'rename', inode, from, path }, async () => {
      await work()
      this.#names.delete(from)
      this.#names.set(path, inode)
    })
  }

  async unlink (path: string, work: () => Promise<void>): Promise<void> {
    await this.record({ kind: 'unlink', path }, async () => {
      await work()
      this.#names.delete(path)
    })
  }
}

function changesNames ({ kind }: Effect): boolean {
  return kind === 'create' || kind === 'rename' || kind === 'unlink'
}

function isChange (effect: Effect, inode: number): effect is Extract<Effect, { kind: 'write' | 'truncate' }> {
  return (effect.kind === 'write' || effect.kind === 'truncate') && effect.inode === inode
}

/** `torn`: only a part of it, from the front or from the back. */
function apply (content: Buffer, effect: Extract<Effect, { kind: 'write' | 'truncate' }>, torn: Random | null): Buffer {
  if (effect.kind === 'truncate') return Buffer.concat([content.subarray(0, effect.length)], effect.length)
  const cut = torn !== null && torn(2) === 0 ? torn(effect.bytes.length + 1) : 0
  const isFront = torn !== null && torn(2) === 0
  const bytes = isFront ? effect.bytes.subarray(0, effect.bytes.length - cut) : effect.bytes.subarray(cut)
  const offset = isFront ? effect.offset : effect.offset + cut
  if (bytes.length === 0) return content
  const result = Buffer.concat([content], Math.max(content.length, offset + bytes.length))
  bytes.copy(result, offset)
  return result
}

function diskOf (path: unknown): { disk: FailingDisk, path: string } | null {
  for (const disk of recorded) {
    const inside = disk.within(path)
    if (inside !== null) return { disk, path: inside }
  }
  return null
}

/** What to put back where. */
const originals: Array<{ readonly of: object, readonly name: string, readonly value: unknown }> = []

function replaceIn (of: object, name: string, value: unknown): void {
  originals.push({ of, name, value: Reflect.get(of, name) })
  Reflect.set(of, name, value)
}

function restore (): void {
  for (const { of, name, value } of originals.splice(0)) Reflect.set(of, name, value)
  syncBuiltinESMExports()
}

function install (): void {
  if (originals.length > 0) return
  const replace = (name: string, value: unknown) => replaceIn(fs, name, value)
  replace('open', openRecorded)
  replace('writeFile', async (path: string, data: string | Uint8Array, options?: object) => {
    if (diskOf(path) === null) return await real.writeFile(path, data, options)
    const handle = await openRecorded(path, 'w')
    try {
      await handle.writeFile(data)
    } finally {
      await handle.close()
    }
  })
  replace('rename', async (from: string, to: string) => {
    const [source, target] = [diskOf(from), diskOf(to)]
    if (source === null && target === null) return await real.rename(from, to)
    if (source === null || target === null || source.disk !== target.disk) throw new Error('a rename into or out of the recorded directory')
    await source.disk.rename(source.path, target.path, () => real.rename(from, to))
  })
  replace('rm', async (path: string, options?: { force?: boolean, recursive?: boolean }) => {
    const found = diskOf(path)
    if (found === null) return await real.rm(path, options)
    await found.disk.unlink(found.path, () => real.rm(path, { ...options, recursive: false }))
  })
  replace('mkdir', async (path: string, options?: { recursive?: boolean }) => {
    const found = diskOf(path)
    const made = await real.mkdir(path, options)
    if (found === null) return made
    const parts = found.path.split(sep)
    const top = made === undefined ? null : found.disk.within(made)
    for (let depth = top === null ? parts.length + 1 : top.split(sep).length; depth <= parts.length; depth++) {
      const directory = parts.slice(0, depth).join(sep)
      if (directory !== '') await found.disk.create(directory, null)
    }
    return made
  })
  replace('lstat', async (path: string, options?: object) => {
    const stats = await real.lstat(path, options)
    const found = diskOf(path)
    const inode = found?.disk.inodeOf(found.path)
    if (found === null || inode === undefined || !('mtimeNs' in stats)) return stats
    return Object.assign(Object.create(Object.getPrototypeOf(stats)), stats, { ino: BigInt(inode), mtimeNs: BigInt(found.disk.changesOf(inode)) })
  })
  for (const name of ['appendFile', 'copyFile', 'cp', 'link', 'symlink', 'truncate', 'rmdir', 'unlink', 'utimes', 'mkdtemp'] as const) {
    const original: unknown = real[name]
    replace(name, async (...args: unknown[]) => {
      if (args.some(path => diskOf(path) !== null)) throw new Error(`${name} is not recorded`)
      if (typeof original === 'function') return await Reflect.apply(original, fs, args)
    })
  }
  installHandle()
  syncBuiltinESMExports()
}

async function openRecorded (path: string, flags?: string | number, mode?: number): Promise<FileHandle> {
  const found = diskOf(path)
  if (found === null) return await real.open(path, flags, mode)
  const { disk } = found
  const known = disk.inodeOf(found.path)
  const handle = await real.open(path, flags, mode)
  const stats = await handle.stat({ bigint: true })
  if (stats.isDirectory()) {
    handles.set(handle, { disk, inode: 0, directory: found.path })
    return handle
  }
  const mayCreate = typeof flags === 'string' && flags.startsWith('w')
  const inode = mayCreate ? disk.inodeOf(found.path) ?? await disk.create(found.path, stats.ino) : disk.inodeOfReal(stats.ino)
  if (inode === undefined) throw new Error(`${found.path} was made behind the recording`)
  handles.set(handle, { disk, inode, directory: null })
  if (known !== undefined && mayCreate) await disk.record({ kind: 'truncate', inode, length: 0 }, async () => {})
  return handle
}

async function realHandleMethods (): Promise<{ prototype: object, methods: Pick<FileHandle, 'write' | 'writeFile' | 'truncate' | 'sync' | 'datasync' | 'appendFile' | 'writev'> }> {
  const handle = await fs.open('.', 'r')
  const prototype: FileHandle = Object.getPrototypeOf(handle)
  await handle.close()
  const own = Object.fromEntries(['write', 'writeFile', 'truncate', 'sync', 'datasync', 'appendFile', 'writev'].map(name => [name, Reflect.get(prototype, name)]))
  return { prototype, methods: Object.assign(Object.create(prototype), own) }
}

function installHandle (): void {
  const replace = (name: string, value: unknown) => replaceIn(handlePrototype, name, value)
  const known = (handle: FileHandle) => {
    const found = handles.get(handle)
    return found !== undefined && recorded.has(found.disk) ? found : undefined
  }
  replace('write', async function (this: FileHandle, buffer: Uint8Array, offset: number, length: number, position: number) {
    const found = known(this)
    const write = (): Promise<unknown> => Reflect.apply(realHandle.write, this, [buffer, offset, length, position])
    if (found === undefined) return await write()
    if (!(buffer instanceof Uint8Array) || typeof position !== 'number') throw new Error('a write without a position is not recorded')
    const bytes = Buffer.from(buffer.subarray(offset, offset + length))
    return await found.disk.record({ kind: 'write', inode: found.inode, offset: position, bytes }, write)
  })
  replace('writeFile', async function (this: FileHandle, data: string | Uint8Array) {
    const found = known(this)
    const write = () => realHandle.writeFile.call(this, data)
    if (found === undefined) return await write()
    await found.disk.record({ kind: 'write', inode: found.inode, offset: 0, bytes: Buffer.from(typeof data === 'string' ? Buffer.from(data) : data) }, write)
  })
  replace('truncate', async function (this: FileHandle, length = 0) {
    const found = known(this)
    const truncate = () => realHandle.truncate.call(this, length)
    if (found === undefined) return await truncate()
    await found.disk.record({ kind: 'truncate', inode: found.inode, length }, truncate)
  })
  for (const name of ['sync', 'datasync'] as const) {
    replace(name, async function (this: FileHandle) {
      const found = known(this)
      if (found === undefined) return await realHandle[name].call(this)
      const { disk, inode, directory } = found
      // Nothing is brought to the real disk: nobody switches that one off.
      await disk.record(directory === null ? { kind: 'sync', inode } : { kind: 'syncDirectory', path: directory === '' ? '.' : directory }, async () => {})
    })
  }
  for (const name of ['appendFile', 'writev'] as const) {
    replace(name, async function (this: FileHandle, ...args: unknown[]) {
      if (known(this) !== undefined) throw new Error(`${name} is not recorded`)
      return await Reflect.apply(realHandle[name], this, args)
    })
  }
}
