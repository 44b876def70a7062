import { once } from 'node:events'
import { CodedError } from '../errors.ts'
import { lowerPriority } from '../lower-priority.ts'
import { Loopback } from '../media/loopback.ts'
import { programOf, startProgram } from '../media/program.ts'
import { Slots } from '../slots.ts'
import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { SourceFile } from '../source.ts'

export interface FfmpegOptions {
  /** Processes at a time; whoever wants one more waits in the order of coming. */
  readonly processes: number
  /** What one may write, in bytes. */
  readonly maxOutputBytes: number
  /** One that neither reads nor writes for so long is killed. */
  readonly silenceLimitMs: number
}

/** What a run writes, while it does. Whoever has enough returns, and the process ends. */
export interface Output {
  readonly out: AsyncIterable<Buffer>
  /** Of descriptor 3. */
  readonly marks: AsyncIterable<Buffer>
}

const STDERR_BYTES = 2000
/** What people do beside it comes first. */
const NICENESS = 10
const LOOK_MS = 1000

/** Runs FFmpeg over files of the chain, which it reads on loopback and nothing else. */
export class Ffmpeg {
  readonly #program: string
  readonly #options: FfmpegOptions
  readonly #loopback = new Loopback()
  readonly #slots: Slots
  readonly #running = new Set<ChildProcess>()

  private constructor (program: string, options: FfmpegOptions) {
    this.#program = program
    this.#options = options
    this.#slots = new Slots(options.processes)
  }

  /** null: there is no ffmpeg on this machine's PATH. */
  static async open (options: FfmpegOptions, path = process.env['PATH'] ?? ''): Promise<Ffmpeg | null> {
    const program = await programOf('ffmpeg', path)
    return program === null ? null : new Ffmpeg(program, options)
  }

  /** What a run may write, in bytes. */
  get maxOutputBytes (): number {
    return this.#options.maxOutputBytes
  }

  /** How many processes there are now. */
  get running (): number {
    return this.#running.size
  }

  /**
   * Runs it and gives what `consume` makes of its output; the process is gone when this settles. Throws what kept the file from
   * being read, SOURCE_FAILED with what ffmpeg says, SOURCE_TIMEOUT where nothing moves any more, or the signal's reason.
   *
   * @param argumentsFor the arguments, with the URL to read.
   */
  async run<T> (file: SourceFile, argumentsFor: (url: string) => string[], consume: (output: Output) => Promise<T>, signal: AbortSignal): Promise<T> {
    return await this.#slots.run(async () => {
      const lent = await this.#loopback.lend(file, signal)
      try {
        return await this.#run(argumentsFor(lent.url), lent, consume, signal)
      } finally {
        lent.release()
      }
    }, signal)
  }

  async close (): Promise<void> {
    for (const child of this.#running) child.kill('SIGKILL')
    await this.#loopback.close()
  }

  async #run<T> (args: readonly string[], lent: { readonly sentBytes: () => number, readonly failure: () => unknown }, consume: (output: Output) => Promise<T>, signal: AbortSignal): Promise<T> {
    signal.throwIfAborted()
    const child = await startProgram(this.#program, args, ['ignore', 'pipe', 'pipe', 'pipe'])
    const closed = once(child, 'close').then(([code]: unknown[]) => code === 0, () => false)
    this.#running.add(child)
    lowerPriority(child, NICENESS)
    let words = ''
    child.stderr?.setEncoding('utf8').on('data', (text: string) => { words = (words + text).slice(-STDERR_BYTES) })
    const stop = new AbortController()
    const both = AbortSignal.any([signal, stop.signal])
    const kill = (): void => { child.kill('SIGKILL') }
    both.addEventListener('abort', kill, { once: true })
    const written = { bytes: 0 }
    const watch = this.#watch(() => lent.sentBytes() + written.bytes, stop)
    let isOver = false
    const read = (stream: unknown): AsyncIterable<Buffer> => counted(stream as Readable, written, this.#options.maxOutputBytes, stop, () => isOver)
    try {
      both.throwIfAborted()
      const [, stdout, , third] = child.stdio
      const result = await consume({ out: read(stdout), marks: read(third) })
      isOver = true
      both.throwIfAborted()
      return await this.#checked(result, child, closed, lent.failure, () => words)
    } catch (error) {
      throw both.aborted ? both.reason : error
    } finally {
      clearInterval(watch)
      both.removeEventListener('abort', kill)
      kill()
      for (const stream of child.stdio) stream?.destroy()
      await closed
      this.#running.delete(child)
    }
  }

  /** A process that has ended may have ended before its time: then what there is of its output is no whole. */
  async #checked<T> (result: T, child: ChildProcess, closed: Promise<boolean>, failure: () => unknown, words: () => string): Promise<T> {
    const hasEnded = child.stdout?.readableEnded === true
    if (!hasEnded) return result
    const isWell = await closed
    if (failure() !== null) throw failure()
    if (!isWell) throw new CodedError('SOURCE_FAILED', `ffmpeg: ${words().trim().replace(/https?:\S+/g, 'the file').split('\n').at(-1) || 'it was ended'}`)
    return result
  }

  #watch (progress: () => number, stop: AbortController): NodeJS.Timeout {
    const limitMs = this.#options.silenceLimitMs
    let last = { bytes: -1, at: performance.now() }
    return setInterval(() => {
      const bytes = progress()
      if (bytes !== last.bytes) last = { bytes, at: performance.now() }
      else if (performance.now() - last.at > limitMs) stop.abort(new CodedError('SOURCE_TIMEOUT', `ffmpeg neither read nor wrote for ${Math.round(limitMs / 1000)} s`))
    }, LOOK_MS)
  }
}

async function * counted (stream: Readable, written: { bytes: number }, most: number, stop: AbortController, isOver: () => boolean): AsyncGenerator<Buffer, void, void> {
  try {
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      if (!Buffer.isBuffer(chunk)) continue
      written.bytes += chunk.length
      if (written.bytes > most) stop.abort(new CodedError('SOURCE_FAILED', `ffmpeg wrote more than ${most} bytes`))
      yield chunk
    }
  } catch (error) {
    // It is we who have closed it.
    if (!isOver()) throw error
  }
}
