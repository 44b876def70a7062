import { mkdir, open, readdir, readlink, utimes } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Log } from '../../../services/log.ts'
import type { Metadata } from '../../../services/torrent/metadata.ts'

export const infohash = '39730aa7c09b864432bc8c878c20c933059241fd'
export const otherInfohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

/** A file of this length that takes no room, last touched an hour ago: nobody can think that it is still growing. */
export async function place (directory: string, path: string, lengthBytes = 1_000_000): Promise<string> {
  const whole = join(directory, path)
  await mkdir(dirname(whole), { recursive: true })
  const handle = await open(whole, 'w')
  await handle.truncate(lengthBytes)
  await handle.close()
  const anHourAgo = new Date(Date.now() - 3_600_000)
  await utimes(whole, anHourAgo, anHourAgo)
  return whole
}

/** Metadata of a torrent with these files, as far as a cache lookup asks for it. */
export function metadataOf (files: ReadonlyArray<readonly [path: string, lengthBytes: number]>, createdAt: Date | null = null): Metadata {
  let offset = 0
  const torrentFiles = files.map(([path, lengthBytes], index) => {
    const components = path.split('/')
    const name = components.at(-1) ?? ''
    const file = { index, components, name, path, lengthBytes, offset, isPadding: components[0] === '.pad' }
    offset += lengthBytes
    return file
  })
  return {
    infohash,
    name: 'torrent',
    isMultiFile: files.length > 1,
    isPrivate: false,
    lengthBytes: offset,
    pieceLength: 16384,
    pieceCount: Math.ceil(offset / 16384),
    files: torrentFiles,
    trackers: [],
    webSeeds: [],
    httpSeeds: [],
    createdAt,
    torrent: Buffer.alloc(0),
    hashOf: () => Buffer.alloc(20)
  }
}

/** How many descriptors of this process are open on this file. */
export async function descriptorsOf (path: string): Promise<number> {
  const links = await Promise.all((await readdir('/proc/self/fd')).map(async (fd) => await readlink(`/proc/self/fd/${fd}`).catch(() => '')))
  return links.filter(link => link === path).length
}

/** Resolves once `isTrue` answers true; asks again and again, for what the system does is announced by no event. */
export async function eventually (isTrue: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000
  while (!await isTrue()) {
    if (performance.now() > deadline) throw new Error('did not come true within 10 s')
    await new Promise(resolve => setImmediate(resolve))
  }
}

/** A log that keeps its warnings. */
export function warningsOf (): { log: Log, warnings: string[] } {
  const warnings: string[] = []
  return { warnings, log: { debug () {}, info () {}, warn (_fields, message) { warnings.push(message) }, error () {} } }
}
