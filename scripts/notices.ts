import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { notices } from '../services/stremio/notices.ts'

/**
 * Makes assets/notices/*.mp4: the short videos that tell people at a TV why nothing plays. Needs ffmpeg with libx264 and
 * drawtext, and the font DejaVu Sans (or FONT=/path/to/font.ttf). The same ffmpeg makes the same bytes.
 */

const MAX_BYTES = 100_000
const font = process.env['FONT'] ?? execFileSync('fc-match', ['--format', '%{file}', 'DejaVu Sans'], { encoding: 'utf8' })
const root = join(import.meta.dirname, '..', 'assets', 'notices')
const work = mkdtempSync(join(tmpdir(), 'self-streme-notices-'))
mkdirSync(root, { recursive: true })
try {
  for (const [name, { title, lines }] of Object.entries(notices)) {
    const line = (text: string, i: number, size: number, y: number): string => {
      const path = join(work, `${name}-${i}`)
      writeFileSync(path, text)
      return `drawtext=fontfile=${font}:fontcolor=white:fontsize=${size}:x=(w-text_w)/2:y=${y}:textfile=${path}`
    }
    const filters = [line(title, 0, 44, 250), ...lines.map((text, i) => line(text, i + 1, 28, 350 + i * 46))].join(',')
    const target = join(root, `${name}.mp4`)
    // Baseline and yuv420p, with a silent sound track, so that everything plays it.
    execFileSync('ffmpeg', [
      '-nostdin', '-v', 'error', '-y',
      '-f', 'lavfi', '-i', 'color=c=0x1b2430:size=1280x720:rate=24:duration=12',
      '-f', 'lavfi', '-i', 'anullsrc=channel_layout=stereo:sample_rate=44100',
      '-shortest', '-vf', filters,
      '-c:v', 'libx264', '-threads', '1', '-preset', 'veryslow', '-tune', 'stillimage', '-profile:v', 'baseline', '-pix_fmt', 'yuv420p', '-crf', '30', '-g', '288',
      '-c:a', 'aac', '-b:a', '32k', '-metadata', `title=${title}`,
      '-fflags', '+bitexact', '-flags:v', '+bitexact', '-flags:a', '+bitexact', '-movflags', '+faststart', target
    ])
    const { size } = statSync(target)
    if (size > MAX_BYTES) throw new Error(`${target} has ${size} bytes, more than ${MAX_BYTES}`)
    process.stdout.write(`${target} ${size}\n`)
  }
} finally {
  rmSync(work, { recursive: true })
}
