import { randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, readdir, readlink, rename, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

import { stateFolder } from './stored-files.ts'

/** Who holds a download directory, as its record says. */
export interface LockHolder {
  readonly pid: number
  readonly hostname: string
  /** Made anew by each process that takes the lock. */
  readonly token: string
  /** Where the number of the process means something: one boot of one machine, one container. */
  readonly namespace: string
  /** When the process began, in the system's own units; a number that is used again gets another. null: nobody can tell. */
  readonly startTime: string | null
  /** It let the directory go. */
  readonly isReleased: boolean
}

export interface DirectoryLock {
  /** Lets the next one in. Called twice it does nothing more. */
  release (): Promise<void>
}

/** What fs-native-extensions does: a lock of the open file description, which the kernel lets go when the process dies. */
export type TryLock = (fd: number, offset: number, length: number) => boolean

export interface LockOptions {
  /** null: as where the native part is missing. Default: fs-native-extensions, where it loads. */
  readonly tryLock?: TryLock | null
  /** How often a lock without the native part shows that it is held. */
  readonly heartbeatMs?: number
}

/** The directory is held by another process; the message says by whom. */
export class DirectoryInUse extends Error {
  readonly holder: LockHolder | null

  constructor (directory: string, holder: LockHolder | null) {
    const place = holder === null || holder.hostname === hostname() ? '' : ` on ${holder.hostname}`
    super(`another Self-Streme${holder === null ? '' : ` (process ${holder.pid}${place})`} uses the download directory ${directory}`)
    this.name = 'DirectoryInUse'
    this.holder = holder
  }
}

/** Beyond the record, because Windows keeps others from reading what is locked. */
const lockedOffset = 1 << 30

const attempts = 5

/**
 * Takes the download directory for this process, so that two servers never write to one. With the native part it is a
 * lock of the kernel on `.self-streme/lock`: gone the moment the process is, however it ends, and seen from every
 * container on the machine. Without it (or on a file system without locks) it is a record with the process, its start
 * time and the boot, and a heartbeat for those who cannot look at the process.
 *
 * Throws DirectoryInUse, or what the file system says.
 */
export async function lockDirectory (directory: string, options: LockOptions = {}): Promise<DirectoryLock> {
  const folder = join(directory, stateFolder)
  await mkdir(folder, { recursive: true })
  const tryLock = options.tryLock === undefined ? await nativeLock() : options.tryLock
  const me = await describeMyself()
  const native = tryLock === null ? null : await lockNatively(directory, join(folder, 'lock'), tryLock, me)
  return native ?? await lockByRecord(directory, folder, me, options.heartbeatMs ?? 5000)
}

/** null: this file system has no locks. */
async function lockNatively (directory: string, path: string, tryLock: TryLock, me: LockHolder): Promise<DirectoryLock | null> {
  // 'a+' makes the file and leaves its content alone: it is the record of whoever holds the lock.
  const handle = await open(path, 'a+')
  let isMine
  try {
    isMine = tryLock(handle.fd, lockedOffset, 1)
  } catch {
    await handle.close()
    return null
  }
  if (!isMine) {
    await handle.close()
    throw new DirectoryInUse(directory, await readHolder(path))
  }
  // The record is for people. Without it (a full disk) the lock is held all the same.
  await handle.truncate(0).then(async () => await handle.appendFile(JSON.stringify(me))).catch(() => {})
  let released: Promise<void> | null = null
  // The file stays: whoever removed it could remove one that the next process has locked already.
  return { release: async () => await (released ??= handle.close()) }
}

/**
 * Records are numbered, and the highest number holds the directory: alive, or not. Whoever finds that it is not makes
 * the next number, which only one can. A number is never taken out while it is the highest, so one that was made after
 * a look long ago finds a higher one, and gives way.
 */
async function lockByRecord (directory: string, folder: string, me: LockHolder, heartbeatMs: number): Promise<DirectoryLock> {
  for (let i = 0; i < attempts; i++) {
    const highest = Math.max(0, ...await numbersIn(folder))
    if (highest > 0) {
      const path = recordPath(folder, highest)
      const holder = await readHolder(path)
      if (await isAlive(path, holder, me, heartbeatMs)) throw new DirectoryInUse(directory, holder)
    }
    const mine = highest + 1
    if (!await createRecord(recordPath(folder, mine), me)) continue
    const numbers = await numbersIn(folder)
    for (const number of numbers) if (number < mine) await rm(recordPath(folder, number), { force: true })
    if (Math.max(...numbers) === mine) return holdRecord(recordPath(folder, mine), me, heartbeatMs)
    await rm(recordPath(folder, mine), { force: true })
  }
  throw new DirectoryInUse(directory, null)
}

function recordPath (folder: string, number: number): string {
  return join(folder, `lock-${number}`)
}

async function numbersIn (folder: string): Promise<number[]> {
  return (await readdir(folder)).flatMap((name) => /^lock-\d{1,15}$/.test(name) ? [Number(name.slice('lock-'.length))] : [])
}

/** The name appears with its content, or another had it already: false. */
async function createRecord (path: string, me: LockHolder): Promise<boolean> {
  const temporary = `${path}.${me.token}.tmp`
  await writeFile(temporary, JSON.stringify(me))
  try {
    await link(temporary, path)
    return true
  } catch (error) {
    if (hasCode(error, 'EEXIST')) return false
    // A file system without hard links: a second process may see the record half-written, and waits for its heart to beat.
    return await writeFile(path, JSON.stringify(me), { flag: 'wx' }).then(() => true, (cause: unknown) => {
      if (hasCode(cause, 'EEXIST')) return false
      throw cause
    })
  } finally {
    await rm(temporary, { force: true })
  }
}

function holdRecord (path: string, me: LockHolder, heartbeatMs: number): DirectoryLock {
  const timer = setInterval(() => {
    const now = new Date()
    // A disk that does not answer makes the lock look stale to other machines; nothing can be done about it here.
    utimes(path, now, now).catch(() => {})
  }, heartbeatMs)
  timer.unref()
  let released: Promise<void> | null = null
  const release = async (): Promise<void> => {
    clearInterval(timer)
    const temporary = `${path}.${me.token}.tmp`
    await writeFile(temporary, JSON.stringify({ ...me, isReleased: true }))
    await rename(temporary, path)
  }
  return { release: async () => await (released ??= release()) }
}

/** Is the process that made the record still there? Where its number means nothing to us, its heartbeat tells: it is waited for. */
async function isAlive (path: string, holder: LockHolder | null, me: LockHolder, heartbeatMs: number): Promise<boolean> {
  if (holder?.isReleased === true) return false
  if (holder !== null && holder.namespace === me.namespace) {
    return doesRun(holder.pid) && (holder.startTime === null || holder.startTime === await startTimeOf(holder.pid))
  }
  const before = await beatOf(path)
  if (before === null || Math.abs(Date.now() - before) > heartbeatMs * 20) return false
  await sleep(heartbeatMs * 2)
  const after = await beatOf(path)
  return after !== null && after !== before
}

async function beatOf (path: string): Promise<number | null> {
  return await stat(path).then(({ mtimeMs }) => mtimeMs, () => null)
}

async function readHolder (path: string): Promise<LockHolder | null> {
  try {
    const record: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (typeof record !== 'object' || record === null) return null
    const { pid, hostname, token, namespace, startTime, isReleased }: Partial<Record<keyof LockHolder, unknown>> = record
    if (typeof pid !== 'number' || !Number.isSafeInteger(pid) || pid <= 0) return null
    if (typeof hostname !== 'string' || typeof token !== 'string' || typeof namespace !== 'string') return null
    return { pid, hostname, token, namespace, startTime: typeof startTime === 'string' ? startTime : null, isReleased: isReleased === true }
  } catch {
    return null
  }
}

async function describeMyself (): Promise<LockHolder> {
  const { pid } = process
  return { pid, hostname: hostname(), token: randomUUID(), namespace: await myNamespace(), startTime: await startTimeOf(pid), isReleased: false }
}

/** After a reboot, and in another container, the same number is another process. Elsewhere than on Linux the machine has to do. */
async function myNamespace (): Promise<string> {
  try {
    const boot = (await readFile('/proc/sys/kernel/random/boot_id', 'utf8')).trim()
    return `${boot} ${await readlink('/proc/self/ns/pid')}`
  } catch {
    return hostname()
  }
}

/** Field 22 of proc_pid_stat(5), null for a zombie. Fields are counted from behind the name, which may hold anything. */
async function startTimeOf (pid: number): Promise<string | null> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? null : fields[19] ?? null
  } catch {
    return null
  }
}

function doesRun (pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return hasCode(error, 'EPERM')
  }
}

/** It comes with the swarm and has no binary for every system: without it the record has to do. */
async function nativeLock (): Promise<TryLock | null> {
  try {
    // A name in a variable: the package has no types, and may be missing.
    const name = 'fs-native-extensions'
    const extensions: unknown = (await import(name)).default
    if (typeof extensions !== 'object' || extensions === null || !('tryLock' in extensions)) return null
    const { tryLock } = extensions
    return typeof tryLock === 'function' ? (fd, offset, length) => tryLock(fd, offset, length) === true : null
  } catch {
    return null
  }
}

function hasCode (error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code
}
