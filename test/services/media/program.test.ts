import { execFile } from 'node:child_process'
import { chmod, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { Ffmpeg } from '../../../services/hls/ffmpeg.ts'
import { Probe } from '../../../services/media/probe.ts'
import { temporaryDirectory } from '../../testnet.ts'
import type { SourceFile } from '../../../services/source.ts'

const film: SourceFile = { source: 'test', name: 'film.mkv', lengthBytes: 600, etag: '"x"', lastModified: null, isVerified: true, isLocal: true, async * read () { yield Buffer.from('1a45dfa3'.padEnd(1200, '0'), 'hex') } }
const { signal } = new AbortController()

t.test('a server without a free descriptor says that it cannot run a program, and lives on', async (t) => {
  const code = `
    import { openSync } from 'node:fs'
    import { startProgram } from ${JSON.stringify(new URL('../../../services/media/program.ts', import.meta.url).href)}
    await (await startProgram('/bin/true', [], ['ignore', 'pipe', 'ignore'])).kill()
    const open = []
    try { for (;;) open.push(openSync('/dev/null')) } catch {}
    await startProgram('/bin/true', [], ['ignore', 'pipe', 'ignore']).catch(({ code, message }) => { console.log(code, message) })
    setTimeout(() => { console.log('alive') }, 50)`
  const { stdout } = await promisify(execFile)('sh', ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, '--input-type=module', '-e', code], { env: {} })
  t.match(stdout, /^SOURCE_FAILED true cannot be run \(EMFILE\)\nalive\n$/)
})

t.test('a program that has gone fails what needs it, and is not counted', async (t) => {
  const directory = await temporaryDirectory(t)
  for (const name of ['ffmpeg', 'ffprobe']) {
    await writeFile(join(directory, name), '')
    await chmod(join(directory, name), 0o755)
  }
  const ffmpeg = await Ffmpeg.open({ processes: 1, maxOutputBytes: 1000, silenceLimitMs: 60_000 }, directory)
  const probe = await Probe.open(directory)
  if (ffmpeg === null || probe === null) throw new Error('they are there')
  t.teardown(async () => { await ffmpeg.close(); await probe.close() })
  for (const name of ['ffmpeg', 'ffprobe']) await rm(join(directory, name))
  for (let attempt = 0; attempt < 3; attempt++) {
    await t.rejects(ffmpeg.run(film, () => [], async () => {}, signal), { code: 'SOURCE_FAILED', message: 'ffmpeg cannot be run (ENOENT)' })
    await t.rejects(probe.media(film, signal), { code: 'SOURCE_FAILED', message: 'ffprobe cannot be run (ENOENT)' })
  }
  t.equal(ffmpeg.running, 0)
})
