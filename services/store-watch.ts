import { constants } from 'node:fs'
import { access, opendir } from 'node:fs/promises'
import { deadlines } from './deadlines.ts'
import { timeUp, within, steadyClock } from './clock.ts'

export interface StoreWatchOptions {
  /** The download directory. */
  readonly directory: string
  /** Nothing is written there, so it need not be writable, nor be there at all. */
  readonly isReadOnly: boolean
  /** How long a look may take before the disk counts as dead. */
  readonly limitMs?: number
  readonly intervalMs?: number
  /** Rejects with what is wrong. */
  readonly look?: (directory: string, mode: 'read' | 'write') => Promise<void>
}

/** `dead`: nothing can be read from it, so nothing that is cached can be served. */
export interface StoreState {
  readonly isDead: boolean
  /** For people; null: all is well. */
  readonly problem: string | null
}

const well: StoreState = { isDead: false, problem: null }

/** Looks at the download directory now and then, so that a probe need not: a disk that hangs would hang the probe. */
export class StoreWatch {
  readonly #options: Required<StoreWatchOptions>
  #state = well
  #timer: NodeJS.Timeout | undefined
  /** The look that is under way, however long: a hanging disk gets no second one. */
  #look: Promise<StoreState> | null = null
  readonly #stop = new AbortController()

  constructor (options: StoreWatchOptions) {
    this.#options = { limitMs: deadlines.storeMs, intervalMs: deadlines.storeMs, look: lookAt, ...options }
  }

  get state (): StoreState { return this.#state }

  start (): void {
    this.#timer = setInterval(() => { void this.check() }, this.#options.intervalMs)
    this.#timer.unref()
  }

  close (): void {
    clearInterval(this.#timer)
    this.#stop.abort()
  }

  /** Looks once, and sets the state; never rejects. */
  async check (): Promise<StoreState> {
    const { directory, isReadOnly, limitMs } = this.#options
    if (isReadOnly) return this.#state
    this.#look ??= this.#seen(directory).finally(() => { this.#look = null })
    const seen = await within(this.#look, limitMs, steadyClock, this.#stop.signal).catch(() => this.#state)
    this.#state = seen === timeUp ? { isDead: true, problem: `store: the download directory has not answered for ${limitMs} ms` } : seen
    return this.#state
  }

  async #seen (directory: string): Promise<StoreState> {
    for (const [mode, done] of [['read', 'read'], ['write', 'written']] as const) {
      try {
        await this.#options.look(directory, mode)
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown'
        return { isDead: mode === 'read', problem: `store: the download directory cannot be ${done} (${code})` }
      }
    }
    return well
  }
}

async function lookAt (directory: string, mode: 'read' | 'write'): Promise<void> {
  if (mode === 'write') return await access(directory, constants.W_OK)
  const folder = await opendir(directory)
  try {
    await folder.read()
  } finally {
    await folder.close()
  }
}
