import { lstat, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isMissing, syncDirectory } from './piece-files.ts'

/** Written into the record. One with another number is not believed. */
const formatVersion = 1

/** What makes each data file and edge file the one that it was, by its path in the store's directory. */
export type Identities = ReadonlyMap<string, string>

/**
 * The end of a store that was closed is kept in `closed`: only with it are saved bits believed, and only for files that
 * are still the same. A store that was killed leaves none, as does one that lost its disk: so nothing has to be
 * recognised about how the last life ended.
 *
 * Writes the record; everything else has to be on the disk before. It is not synced, nor written beside: a part of it is
 * none, and without it pieces are checked once more. Throws what the file system says.
 */
export async function noteCleanEnd (directory: string): Promise<void> {
  const files = Object.fromEntries(await identitiesIn(directory))
  await writeFile(join(directory, 'closed'), JSON.stringify({ version: formatVersion, files }))
}

/**
 * Reads the record and takes it off the disk, before anything is written that it knows nothing of. null: the last life
 * did not end well, or there was none. Throws what the file system says.
 */
export async function takeCleanEnd (directory: string): Promise<Identities | null> {
  const path = join(directory, 'closed')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
  await rm(path, { force: true })
  await syncDirectory(directory)
  return parse(text)
}

/**
 * Inode, length and time of the last change of a regular file, to be compared as a whole; null when there is none. The
 * time is there for one that was replaced: the new file often gets the old one's inode.
 */
export async function identityAt (path: string): Promise<string | null> {
  try {
    const stats = await lstat(path, { bigint: true })
    return stats.isFile() ? `${stats.ino} ${stats.size} ${stats.mtimeNs}` : null
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

async function identitiesIn (directory: string): Promise<Map<string, string>> {
  const names = (await readdir(directory)).filter(name => /^\d+\.part$/.test(name))
  const edges = (await readdir(join(directory, 'edges'))).filter(name => /^\d+$/.test(name))
  const identities = new Map<string, string>()
  for (const name of [...names, ...edges.map(name => join('edges', name))]) {
    const identity = await identityAt(join(directory, name))
    if (identity !== null) identities.set(name, identity)
  }
  return identities
}

function parse (text: string): Identities | null {
  let record: unknown
  try {
    record = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof record !== 'object' || record === null || !('version' in record) || record.version !== formatVersion) return null
  if (!('files' in record) || typeof record.files !== 'object' || record.files === null) return null
  return new Map(Object.entries(record.files).map(([name, identity]) => [name, String(identity)]))
}
