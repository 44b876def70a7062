import { mkdir, open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/**
 * Replaces a file so that at any moment, a crash or power cut included, the name holds the old content or the new one,
 * whole: written beside, synced, renamed, and the folder synced. Creates the folder. Throws what the file system says.
 */
export async function writeFileAtomically (path: string, content: string | Uint8Array): Promise<void> {
  const folder = dirname(path)
  await mkdir(folder, { recursive: true })
  const temporary = `${path}.tmp`
  const handle = await open(temporary, 'w')
  try {
    await handle.writeFile(content)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await rename(temporary, path)
  await syncFolder(folder)
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
