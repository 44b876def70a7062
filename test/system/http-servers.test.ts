import { spawn } from 'node:child_process'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { bytesFrom, startApp } from '../helper.ts'
import { freePort, hasStarted, isListening, makeTorrent, missing, stopper, temporaryDirectory, testBytes, testWith, until, writeContent } from '../testnet.ts'
import type { Test } from 'tap'
import type { TestTorrent } from '../testnet.ts'

interface Program {
  readonly debianPackage: string
  /** The command that serves the directory at the port, in the foreground. `scratch`: a directory for what it needs. */
  command (directory: string, port: number, scratch: string): Promise<readonly [string, ...string[]]>
}

const programs: Readonly<Record<string, Program>> = {
  nginx: {
    debianPackage: 'nginx-light',
    async command (directory, port, scratch) {
      const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${scratch};`).join(' ')
      await writeFile(join(scratch, 'conf'), `
        daemon off; master_process off; pid ${scratch}/pid; error_log stderr crit; events {}
        http { access_log off; ${temporary} server { listen 127.0.0.1:${port}; root ${directory}; } }`)
      return ['/usr/sbin/nginx', '-p', scratch, '-c', join(scratch, 'conf'), '-e', 'stderr']
    }
  },
  lighttpd: {
    debianPackage: 'lighttpd',
    async command (directory, port, scratch) {
      await writeFile(join(scratch, 'conf'), `server.document-root = "${directory}"\nserver.port = ${port}\nserver.bind = "127.0.0.1"\n`)
      return ['/usr/sbin/lighttpd', '-D', '-f', join(scratch, 'conf')]
    }
  },
  'python3 -m http.server, which ignores Range': {
    debianPackage: 'python3',
    async command (directory, port) {
      return ['/usr/bin/python3', '-m', 'http.server', '--bind', '127.0.0.1', '--directory', directory, String(port)]
    }
  }
}

/** The program with the torrent's files. Resolves to an HTTP_MIRROR_URLS template. */
async function startServer (t: Test, torrent: TestTorrent, { debianPackage, command }: Program): Promise<string> {
  const { directory } = await writeContent(t, torrent)
  const port = await freePort()
  const [program, ...options] = await command(directory, port, await temporaryDirectory(t))
  const child = spawn(program, options, { stdio: 'ignore' })
  t.teardown(stopper(child))
  if (!await hasStarted(child)) throw missing(debianPackage)
  await until('the server listens', async () => await isListening(port))
  return `http://127.0.0.1:${port}/${torrent.metadata.isMultiFile ? encodeURIComponent(torrent.metadata.name) + '/' : ''}{path}`
}

/** An app whose only source of content is this server. */
async function startWith (t: Test, torrent: TestTorrent, program: Program): Promise<{ url: string, directory: string }> {
  const { app, url, directory } = await startApp(t, { HTTP_MIRROR_URLS: await startServer(t, torrent, program) })
  const lease = app.torrents.join(torrent.infohash)
  await lease.torrent.load()
  await lease.torrent.provide(torrent.metadata)
  lease.release()
  return { url: `${url}/stream/proxy/${torrent.infohash}`, directory }
}

const film = testBytes(20_000_000, 'film')

for (const [name, program] of Object.entries(programs)) {
  testWith(t, `${name}: the whole film, and it is in the cache`, async (t) => {
    const torrent = await makeTorrent({ 'Film + 100%.mp4': film }, { pieceLength: 262_144 })
    const { url, directory } = await startWith(t, torrent, program)
    t.ok(film.equals(await bytesFrom(url)))
    await until('it is in the cache', async () => await stat(join(directory, `${torrent.infohash}-Film + 100%.mp4`)).catch(() => null))
  })

  testWith(t, `${name}: twenty ranges anywhere while the film comes, to its end first`, async (t) => {
    const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 262_144 })
    const { url } = await startWith(t, torrent, program)
    const numbers = testBytes(20 * 4, 'ranges')
    const starts = [Math.floor(film.length * 0.8), film.length - 1000, 0, ...Array.from({ length: 17 }, (_, i) => numbers.readUInt32BE(i * 4) % film.length)]
    for (const start of starts) {
      const since = performance.now()
      const end = Math.min(film.length - 1, start + 300_000)
      const bytes = await bytesFrom(url, { Range: `bytes=${start}-${end}` })
      t.ok(film.subarray(start, end + 1).equals(bytes), `bytes=${start}-${end} in ${Math.round(performance.now() - since)} ms`)
    }
  })

  testWith(t, `${name}: two files of a folder at a time, with a piece that crosses both`, async (t) => {
    const torrent = await makeTorrent({ 'a #1?.mkv': film.subarray(0, 3_000_001), 'sub/סרט.mp4': film.subarray(3_000_001, 7_000_000) }, { name: 'Season 1', pieceLength: 524_288 })
    const { url } = await startWith(t, torrent, program)
    const [first, second] = await Promise.all([bytesFrom(`${url}?fileIndex=0`), bytesFrom(`${url}?fileIndex=1`)])
    t.ok(film.subarray(0, 3_000_001).equals(first))
    t.ok(film.subarray(3_000_001, 7_000_000).equals(second))
  })
}
