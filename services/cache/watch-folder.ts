import { watch } from 'node:fs'

/** A watch over the names in one folder, until it is closed. */
export interface FolderWatch {
  close: () => void
}

/**
 * Calls `onChange` whenever a name appears in the folder or goes, and `onError` when the watch is lost. Throws when the
 * system allows no (further) watch. That nothing is reported proves nothing: network file systems tell nobody, and what
 * overflows the kernel's queue is lost without a word.
 */
export type WatchFolder = (path: string, onChange: () => void, onError: (error: unknown) => void) => FolderWatch

/** Watches with the system's own means (inotify); keeps no process alive. */
export const watchFolder: WatchFolder = (path, onChange, onError) => {
  const watcher = watch(path, { persistent: false })
  // 'change' tells of bytes: thousands of times for one file that is copied in, and what is in a file is not listed.
  watcher.on('change', event => { if (event === 'rename') onChange() })
  watcher.on('error', onError)
  return watcher
}
