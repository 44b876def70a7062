import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { missing, temporaryDirectory } from './testnet.ts'
import type { Test } from 'tap'

const run = promisify(execFile)

/** Runs ffmpeg, or ffprobe, and gives what it prints. Throws `missing` where there is none. */
export async function media (program: 'ffmpeg' | 'ffprobe', args: readonly string[]): Promise<string> {
  try {
    return (await run(program, ['-v', 'error', ...args], { maxBuffer: 100_000_000 })).stdout
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'ENOENT' ? missing('ffmpeg') : error
  }
}

const subtitles = '1\n00:00:01,000 --> 00:00:04,000\nFirst words\n\n2\n00:00:30,500 --> 00:00:38,000\nLast words\n'

export interface FilmChoices {
  readonly seconds: number
  /** Of its container, in its name: mkv, mp4, avi, ts. */
  readonly name: string
  /** How it is encoded; default: H.264 with frames in another order and a keyframe every 10 s, AAC. */
  readonly codecs?: readonly string[]
  /** Two sounds, English and Hebrew, and English subtitles. */
  readonly hasMore?: boolean
}

/** A small film with a sound, made by ffmpeg, and the path where it is. */
export async function makeFilm (t: Test, { seconds, name, codecs = ['-c:v', 'libx264', '-preset', 'ultrafast', '-bf', '3', '-b_strategy', '0', '-g', '250', '-c:a', 'aac'], hasMore = false }: FilmChoices): Promise<{ bytes: Buffer, path: string }> {
  const directory = await temporaryDirectory(t)
  const path = join(directory, name)
  await writeFile(join(directory, 'text.srt'), subtitles)
  await media('ffmpeg', [
    '-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=24', '-f', 'lavfi', '-i', 'sine=frequency=440', ...hasMore ? ['-f', 'lavfi', '-i', 'sine=frequency=880', '-i', join(directory, 'text.srt')] : [],
    ...hasMore ? ['-map', '0', '-map', '1', '-map', '2', '-map', '3', '-metadata:s:a:0', 'language=eng', '-metadata:s:a:1', 'language=heb', '-metadata:s:a:1', 'title=Dubbed', '-metadata:s:s:0', 'language=eng', '-c:s', 'srt'] : [],
    '-t', String(seconds), '-pix_fmt', 'yuv420p', ...codecs, path
  ])
  return { bytes: await readFile(path), path }
}
