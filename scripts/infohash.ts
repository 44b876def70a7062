// Prints the infohash that a file has as a torrent of its own, or that a .torrent has.
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { parseArgs } from 'node:util'
import { makeTorrent } from '../services/torrent/make-torrent.ts'
import { maxTorrentBytes, parseMetadata } from '../services/torrent/metadata.ts'
import { Usage, command, pathOfArgument } from './command.ts'
import { Progress } from './progress.ts'

const usage = `\
Usage: npm run -s infohash -- FILE...

Prints the infohash of the torrent that create-torrent would make of the file; of a .torrent, its own.
One file: the hash alone. Several: a line "hash  path" for each, as sha1sum does.
-s keeps npm's own lines away: HASH=$(npm run -s infohash -- film.mp4)
`

await command(usage, async (signal) => {
  const { positionals: files, values: { help } } = parseArgs({ allowPositionals: true, options: { help: { type: 'boolean', short: 'h' } } })
  if (help === true) {
    process.stdout.write(usage)
    return 0
  }
  if (files.length === 0) throw new Usage('which file?')
  const progress = new Progress()
  let isComplete = true
  for (const file of files) {
    try {
      const infohash = await infohashOf(pathOfArgument(file), signal, progress)
      process.stdout.write(files.length === 1 ? `${infohash}\n` : `${infohash}  ${file}\n`)
    } catch (error) {
      signal.throwIfAborted()
      progress.clear()
      process.stderr.write(`${file}: ${reasonOf(error)}\n`)
      isComplete = false
    }
  }
  return isComplete ? 0 : 1
})

async function infohashOf (path: string, signal: AbortSignal, progress: Progress): Promise<string> {
  if (extname(path).toLowerCase() === '.torrent') return parseMetadata(await readTorrent(path)).infohash
  // A loop reads stdout; without a terminal there is nobody for a line on each file.
  const onStart = (lengthBytes: number): void => { if (process.stderr.isTTY) progress.begin('hashing', path, lengthBytes) }
  const { torrent } = await makeTorrent(path, {
    signal,
    onStart,
    onBytes: (bytes) => { progress.advance(bytes) }
  })
  progress.clear()
  return parseMetadata(torrent).infohash
}

async function readTorrent (path: string): Promise<Buffer> {
  const bytes = await readFile(path)
  if (bytes.length > maxTorrentBytes) throw new Error('it is too large for a .torrent')
  return bytes
}

function reasonOf (error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no such file'
  if (code === 'EACCES') return 'it cannot be read with your rights'
  return error instanceof Error ? error.message : String(error)
}
