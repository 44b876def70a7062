import { spawn } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { CodedError } from '../errors.ts'
import { Slots } from '../slots.ts'
import { containerFormatOf, HEAD_BYTES } from './container-format.ts'
import { Loopback } from './loopback.ts'
import type { SourceFile } from '../source.ts'

/** A stream of a media file: a picture, a sound, a subtitle. */
export interface MediaTrack {
  readonly index: number
  readonly type: 'video' | 'audio' | 'subtitle'
  readonly codec: string
  /** As the file says it, mostly ISO 639-2; null: it does not. */
  readonly language: string | null
  readonly title: string | null
  readonly isDefault: boolean
  readonly isForced: boolean
}

const PROBES_AT_A_TIME = 2
const PROBE_MS = 30_000
const MAX_OUTPUT_BYTES = 1_000_000
const shown = 'stream=index,codec_type,codec_name:stream_tags=language,title:stream_disposition=default,forced'

/** What media files consist of, as ffprobe tells it. */
export class Probe {
  readonly #program: string
  readonly #loopback = new Loopback()
  readonly #slots = new Slots(PROBES_AT_A_TIME)

  private constructor (program: string) {
    this.#program = program
  }

  /** null: there is no ffprobe on this machine's PATH. */
  static async open (path = process.env['PATH'] ?? ''): Promise<Probe | null> {
    for (const directory of path.split(delimiter).filter((each) => each !== '')) {
      const program = join(directory, 'ffprobe')
      if (await access(program, constants.X_OK).then(() => true, () => false)) return new Probe(program)
    }
    return null
  }

  /**
   * The tracks of a file; none where it is no media that is let in. It is over after 30 s. Throws SOURCE_FAILED or
   * SOURCE_TIMEOUT where nobody can tell, what reading throws, or the signal's reason.
   */
  async tracks (file: SourceFile, signal: AbortSignal): Promise<MediaTrack[]> {
    const late = new AbortController()
    const timer = setTimeout(() => { late.abort(new CodedError('SOURCE_TIMEOUT', `ffprobe did not end within ${PROBE_MS / 1000} s`)) }, PROBE_MS)
    const both = AbortSignal.any([signal, late.signal])
    try {
      return await this.#slots.run(async () => await this.#tracks(file, both), both)
    } finally {
      clearTimeout(timer)
    }
  }

  async close (): Promise<void> {
    await this.#loopback.close()
  }

  async #tracks (file: SourceFile, signal: AbortSignal): Promise<MediaTrack[]> {
    const format = containerFormatOf(await headOf(file, signal))
    if (format === null) return []
    const { url, release } = await this.#loopback.lend(file, signal)
    try {
      return tracksOf(await this.#run(['-v', 'error', '-protocol_whitelist', 'http,tcp', '-f', format, '-show_entries', shown, '-of', 'json', url], signal))
    } finally {
      release()
    }
  }

  async #run (args: readonly string[], signal: AbortSignal): Promise<string> {
    signal.throwIfAborted()
    const { promise, resolve, reject } = Promise.withResolvers<string>()
    // Nothing of ours: no token that is in the environment.
    const child = spawn(this.#program, args, { stdio: ['ignore', 'pipe', 'ignore'], env: {} })
    const stop = (): void => { child.kill('SIGKILL') }
    signal.addEventListener('abort', stop, { once: true })
    const chunks: Buffer[] = []
    let length = 0
    child.stdout.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
      if (length > MAX_OUTPUT_BYTES) stop()
    })
    child.once('error', (error) => { reject(new CodedError('SOURCE_FAILED', 'ffprobe cannot be run', { cause: error })) })
    child.once('close', (code) => {
      if (signal.aborted) reject(signal.reason)
      else if (code === 0) resolve(Buffer.concat(chunks).toString())
      else reject(new CodedError('SOURCE_FAILED', 'ffprobe cannot read it'))
    })
    try {
      return await promise
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

async function headOf (file: SourceFile, signal: AbortSignal): Promise<Buffer> {
  const length = Math.min(HEAD_BYTES, file.lengthBytes)
  const chunks: Buffer[] = []
  if (length > 0) for await (const chunk of file.read({ start: 0, end: length - 1 }, signal)) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}

function tracksOf (output: string): MediaTrack[] {
  const { streams }: { streams?: unknown } = Object(JSON.parse(output))
  return (Array.isArray(streams) ? streams : []).flatMap((stream: unknown) => {
    const { index, codec_type: type, codec_name: codec, tags, disposition }: Record<string, unknown> = Object(stream)
    if (typeof index !== 'number' || (type !== 'video' && type !== 'audio' && type !== 'subtitle')) return []
    const { language, title }: Record<string, unknown> = Object(tags)
    const { default: isDefault, forced }: Record<string, unknown> = Object(disposition)
    return [{ index, type, codec: textOf(codec) ?? 'unknown', language: textOf(language), title: textOf(title), isDefault: isDefault === 1, isForced: forced === 1 }]
  })
}

function textOf (value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value.slice(0, 500) : null
}
