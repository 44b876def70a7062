import type { Log } from '../log.ts'
import type { FolderWatch, WatchFolder } from './watch-folder.ts'

/** Watches are counted for all programs of a user, and older systems allow 8192: the rest is for the others. */
const watchLimit = 4000

/** As many watches as there may be. That one is refused, or lost, is no failure: folders are looked at all the same. */
export class FolderWatches {
  readonly #watch: WatchFolder | null
  readonly #log: Log
  #count = 0
  #isRefused = false
  #isReported = false

  /** `watch` null: there are none. */
  constructor (watch: WatchFolder | null, log: Log) {
    this.#watch = watch
    this.#log = log
  }

  /** Watches that are open. */
  get size (): number {
    return this.#count
  }

  /** null when the folder cannot be watched. After `onLost` its watch has to be closed. */
  open (path: string, onChange: () => void, onLost: () => void): FolderWatch | null {
    if (this.#watch === null || this.#isRefused || this.#count >= watchLimit) return null
    try {
      const watch = this.#watch(path, onChange, error => {
        // A watch that fails at once would fail again at once.
        this.#refuse(error)
        onLost()
      })
      this.#count++
      let isOpen = true
      return {
        close: () => {
          if (!isOpen) return
          isOpen = false
          this.#count--
          watch.close()
        }
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : ''
      if (code === 'ENOSPC' || code === 'EMFILE' || code === 'ENFILE') this.#refuse(error)
      return null
    }
  }

  /** Asks the system again, that refused a watch. */
  retry (): void {
    this.#isRefused = false
  }

  #refuse (error: unknown): void {
    this.#isRefused = true
    if (this.#isReported) return
    this.#isReported = true
    this.#log.info({ err: error }, 'folders cannot all be watched: they are looked at when somebody asks, and now and then')
  }
}
