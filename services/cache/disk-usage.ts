import { lstat, readdir } from 'node:fs/promises'
import type { Dirent, Stats } from 'node:fs'
import { join } from 'node:path'

import { mapBounded } from '../map-bounded.ts'

/** How the host counts: `apparent` adds up lengths, holes included; `allocated` adds up blocks. */
export type Accounting = 'apparent' | 'allocated'

/** What something on disk takes. Names count each by itself, hard links too: never too little. */
export interface Usage {
  /** By the accounting. */
  readonly countedBytes: number
  readonly allocatedBytes: number
  /** When the youngest of it was written; 0 for nothing. */
  readonly mtimeMs: number
}

export const nothing: Usage = { countedBytes: 0, allocatedBytes: 0, mtimeMs: 0 }

/** Unit of `st_blocks`, whatever the block size of the file system is (POSIX, <sys/stat.h>). */
const statBlockBytes = 512
/** Most file systems hand out blocks of this size. */
const blockBytes = 4096
/** Looks at the disk side by side: more gain nothing, and would crowd out reads of streams. */
export const lookConcurrency = 16

/** What a file of this length takes at most once it is full. */
export function fullUsage (lengthBytes: number, accounting: Accounting): number {
  return accounting === 'apparent' ? lengthBytes : Math.ceil(lengthBytes / blockBytes) * blockBytes
}

/** What one file takes; nothing when there is none. A symbolic link counts itself, not where it leads. Throws what the file system says. */
export async function usageOf (path: string, accounting: Accounting): Promise<Usage> {
  try {
    return usage(await lstat(path), accounting)
  } catch (error) {
    if (isAbsent(error)) return nothing
    throw error
  }
}

/** What all files below a directory take, whatever their names; files and folders that vanish meanwhile are nothing. */
export async function usageBelow (directory: string, accounting: Accounting): Promise<Usage> {
  const entries = await entriesOf(directory)
  const usages = await mapBounded(entries, lookConcurrency, async (entry) => {
    const path = join(directory, entry.name)
    return entry.isDirectory() ? await usageBelow(path, accounting) : await usageOf(path, accounting)
  })
  return sum(usages)
}

/** The entries of a directory; none when it does not exist. Throws what the file system says else. */
export async function entriesOf (directory: string): Promise<Dirent[]> {
  try {
    return await readdir(directory, { withFileTypes: true })
  } catch (error) {
    if (isAbsent(error)) return []
    throw error
  }
}

export function sum (usages: Iterable<Usage>): Usage {
  let [countedBytes, allocatedBytes, mtimeMs] = [0, 0, 0]
  for (const usage of usages) {
    countedBytes += usage.countedBytes
    allocatedBytes += usage.allocatedBytes
    mtimeMs = Math.max(mtimeMs, usage.mtimeMs)
  }
  return { countedBytes, allocatedBytes, mtimeMs }
}

function usage ({ size, blocks, mtimeMs }: Stats, accounting: Accounting): Usage {
  const allocatedBytes = blocks * statBlockBytes
  return { countedBytes: accounting === 'apparent' ? size : allocatedBytes, allocatedBytes, mtimeMs }
}

function isAbsent (error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}
