// Plays the test picture from the server on this machine, as a player would: its beginning and its end, each byte compared.
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { command, configuration } from './command.ts'
import { ownAddress, ownerHeaders } from './own-server.ts'
import type { Config } from '../services/config.ts'

const usage = `\
Usage: npm run -s probe

Asks the server that runs here with these settings for the beginning and the end of the test picture, and compares them.
That goes through everything that a stream of a cached film goes through, but for your disk and the network.

Says in JSON what came, and how soon. Exit code: 0 when it plays, 1 when it does not, within 5 s.
`

/** A test hash for which nobody has a file: what a person placed for one would win. */
const mockHash = '0123456789abcdef0123456789abcdef01234567'
const limitMs = 5000
const length = 65_536

await command(usage, async (signal) => {
  const { values } = parseArgs({ options: { help: { type: 'boolean', short: 'h' } } })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const startedAt = performance.now()
  const since = (): number => Math.round(performance.now() - startedAt)
  try {
    const config = configuration()
    const firstByteMs = await play(config, AbortSignal.any([signal, AbortSignal.timeout(limitMs)]), since)
    say({ isPlaying: true, firstByteMs, ms: since() })
    return 0
  } catch (error) {
    const { message, cause } = error instanceof Error ? error : new Error(String(error))
    say({ isPlaying: false, reason: cause instanceof Error ? `${message}: ${cause.message}` : message, ms: since() })
    return 1
  }
})

function say (result: object): void {
  process.stdout.write(`${JSON.stringify(result)}\n`)
}

/** Resolves with when the first byte came; throws what is wrong. */
async function play (config: Config, signal: AbortSignal, since: () => number): Promise<number> {
  if (!config.ENABLE_MOCK) throw new Error('ENABLE_MOCK=false: there is no test picture')
  const picture = await readFile(fileURLToPath(new URL('../assets/mock.mp4', import.meta.url)))
  const headers = await ownerHeaders(config)
  const read = async (start: number, end: number): Promise<number> => {
    const response = await fetch(`${ownAddress(config)}/stream/proxy/${mockHash}`, {
      headers: { ...headers, Range: `bytes=${start}-${end}` }, signal
    })
    const firstByteMs = since()
    const bytes = Buffer.from(await response.arrayBuffer())
    if (response.status !== 206) throw new Error(`bytes ${start}-${end} were answered with ${response.status}: ${bytes.toString().slice(0, 300)}`)
    if (!bytes.equals(picture.subarray(start, end + 1))) throw new Error(`bytes ${start}-${end} are not those of the test picture`)
    return firstByteMs
  }
  const firstByteMs = await read(0, length - 1)
  await read(picture.length - length, picture.length - 1)
  return firstByteMs
}
