import { createHash } from 'node:crypto'
import { mkdir, open, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { mapBounded } from '../services/map-bounded.ts'

/** The infohash of the `i`th of many. */
export function infohashOf (i: number): string {
  return createHash('sha1').update(`one of many ${i}`).digest('hex')
}

/**
 * Fills a download directory with so many cached files that take no disk: every other one as a person places it, the rest as
 * the server stores it, with their record.
 */
export async function fillCache (directory: string, count: number): Promise<void> {
  await mkdir(join(directory, '.self-streme'), { recursive: true })
  const anHourAgo = new Date(Date.now() - 3_600_000)
  const entries = await mapBounded(Array.from({ length: count }, (_, i) => i), 16, async (i) => {
    const infohash = infohashOf(i)
    const path = `${infohash}-Film ${i}.mp4`
    const handle = await open(join(directory, path), 'w')
    await handle.truncate(1_000_000)
    await handle.utimes(anHourAgo, anHourAgo)
    await handle.close()
    if (i % 2 === 0) return []
    const { ino, mtimeNs } = await stat(join(directory, path), { bigint: true })
    return [{ infohash, fileIndex: 0, path, lengthBytes: 1_000_000, inode: String(ino), mtimeNs: String(mtimeNs), name: `Film ${i}.mp4`, storedAt: anHourAgo.toISOString(), isDefault: true }]
  })
  await writeFile(join(directory, '.self-streme', 'stored.json'), JSON.stringify({ version: 1, files: entries.flat() }))
}
