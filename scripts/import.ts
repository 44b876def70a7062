// Puts files into the cache: see services/cache/import.ts.
import { readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { Importer } from '../services/cache/import.ts'
import type { ImportResult, ImportedFile } from '../services/cache/import.ts'
import type { Config } from '../services/config.ts'
import { parseInfohash } from '../services/torrent/infohash.ts'
import { formatMagnet } from '../services/torrent/magnet.ts'
import { parseMetadata } from '../services/torrent/metadata.ts'
import type { Metadata } from '../services/torrent/metadata.ts'
import { Usage, command, configuration, pathOfArgument, shownPath, stderrLog } from './command.ts'
import { Progress } from './progress.ts'

const usage = `\
Usage: npm run import -- FILE... [--copy]
       npm run import -- FILE... --infohash HASH | --torrent FILE.torrent
       npm run import -- --adopt FOLDER

Puts files into TORRENT_DOWNLOAD_PATH, also while the server runs: each as a torrent of its own, whose infohash is
printed. Of a folder, each video in it. On the same disk nothing is copied (hard links).

  --infohash HASH    the files are of this torrent; checked where its metadata is known
  --torrent FILE     the same, with its .torrent: always checked
  --adopt FOLDER     take over an older version's ./temp: files with an infohash in their name or in a folder's
  --copy             copy in any case: the originals will be written to

Exit code: 0, or 1 when a file was refused.
`

const notes = {
  verified: 'verified',
  'in part': 'verified but for pieces that it shares with files that are not here',
  'not verified': 'not verified: the metadata of this torrent is not known here'
} as const

await command(usage, async (signal) => {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      infohash: { type: 'string' },
      torrent: { type: 'string' },
      adopt: { type: 'string', multiple: true, default: [] },
      copy: { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h' }
    }
  })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  if (positionals.length === 0 && values.adopt.length === 0) throw new Usage('which file?')
  const config = configuration()
  if (config.CACHE_READ_ONLY) throw new Error('CACHE_READ_ONLY=true forbids to write to the download directory: run this without it')
  const infohash = infohashOption(values.infohash)
  const metadata = await torrentOption(values.torrent, infohash)
  if (positionals.length === 0 && (infohash !== null || metadata !== null)) throw new Usage('which file is of this torrent?')
  const progress = new Progress()
  const importer = new Importer({
    directory: config.TORRENT_DOWNLOAD_PATH,
    signal,
    log: stderrLog,
    onFile: (work, path, lengthBytes) => { progress.begin(work, path, lengthBytes) },
    onBytes: (bytes) => { progress.advance(bytes) }
  })
  let isComplete = true
  const request = {
    paths: positionals.map(pathOfArgument),
    adopt: values.adopt.map(pathOfArgument),
    infohash: metadata?.infohash ?? infohash,
    metadata,
    copy: values.copy
  }
  for await (const result of importer.import(request)) {
    progress.clear()
    if (result.kind === 'refused') isComplete = false
    say(result, config)
  }
  return isComplete ? 0 : 1
})

function infohashOption (text: string | undefined): string | null {
  if (text === undefined) return null
  const infohash = parseInfohash(text)
  if (infohash === null) throw new Usage(`--infohash ${text}: an infohash has 40 hex digits, or 32 base32 characters`)
  return infohash
}

async function torrentOption (path: string | undefined, infohash: string | null): Promise<Metadata | null> {
  if (path === undefined) return null
  const bytes = await readFile(pathOfArgument(path)).catch((error: unknown) => {
    throw new Error(`--torrent ${path} cannot be read: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  })
  return parseMetadata(bytes, infohash ?? undefined)
}

function say (result: ImportResult, config: Config): void {
  if (result.kind === 'refused') {
    process.stderr.write(`refused  ${shownPath(result.path)}: ${result.reason}\n`)
    return
  }
  if (result.kind === 'skipped') {
    const why = result.count === 0 ? 'there is no video in it' : `${result.count} of its videos have no infohash in their name or folder: import them as files`
    process.stderr.write(`left out ${shownPath(result.path)}: ${why}\n`)
    return
  }
  process.stdout.write(`\
${result.infohash}  ${shownPath(result.path)}
  file    ${shownPath(result.target)} (${result.how}, ${notes[result.checked]})
  stream  ${streamUrl(result, config)}
  magnet  ${formatMagnet({ infohash: result.infohash, name: result.name })}
`)
}

function streamUrl ({ infohash, fileIndex, isOneOfMany }: ImportedFile, { BASE_URL, PORT }: Config): string {
  const base = BASE_URL?.replace(/\/+$/, '') ?? `http://localhost:${PORT}`
  return `${base}/stream/proxy/${infohash}${isOneOfMany && fileIndex !== null ? `?fileIndex=${fileIndex}` : ''}`
}
