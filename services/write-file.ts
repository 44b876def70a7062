import { randomUUID } from 'node:crypto'
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'

/** A write takes milliseconds; one that is this old has nobody any more. */
const ABANDONED_MS = 60_000

/**
 * Replaces a file so that at any moment, a crash or power cut included, the name holds the old content or the new one,
 * whole: written beside, synced, renamed, and the folder synced. Creates the folder. Throws what the file system says.
 *
 * @param mode who may read it, from its first byte on.
 */
export async function writeFileAtomically (path: string, content: string | Uint8Array, mode = 0o666): Promise<void> {
  const folder = dirname(path)
  await makeFolder(folder)
  // Two writers at a time must not write into each other's file.
  const temporary = `${path}.${randomUUID()}.tmp`
  try {
    const handle = await open(temporary, 'wx', mode)
    try {
      await handle.writeFile(content)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
  await syncFolder(folder)
}

/** Removes what writes into this folder, not below it, left behind when their process was killed. Never fails: what stays is in nobody's way. */
export async function removeAbandonedWrites (folder: string): Promise<void> {
  for (const name of await readdir(folder).catch(() => [])) {
    if (!/\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/.test(name)) continue
    const path = join(folder, name)
    const stats = await stat(path).catch(() => null)
    if (stats !== null && Date.now() - stats.mtimeMs > ABANDONED_MS) await rm(path, { force: true }).catch(() => {})
  }
}

/** Creates the folder with all above it, on the disk when it resolves: what is synced in it cannot get lost with its name. */
export async function makeFolder (path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true })
  if (first === undefined) return
  for (let made = resolve(path); made.startsWith(resolve(first)); made = dirname(made)) await syncFolder(dirname(made))
}

/** Puts renames and new names in this folder on the disk. Does nothing where folders cannot be opened (Windows). */
export async function syncFolder (path: string): Promise<void> {
  const handle = await open(path, 'r').catch(() => null)
  try {
    await handle?.sync()
  } finally {
    await handle?.close()
  }
}
