import { once } from 'node:events'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { LabHost } from './lab.ts'
import { missing, temporaryDirectory } from './testnet.ts'

/** Starts coturn (Debian's) on all addresses of a host, as a STUN server at port 3478; with two addresses it does RFC 5780. */
export async function startStunServer (t: Test, host: LabHost): Promise<string> {
  const directory = await temporaryDirectory(t)
  await start(host, [
    '-n', '--stun-only', ...host.addresses.flatMap((address) => ['-L', address]), '-p', '3478', '--alt-listening-port=3479',
    '--no-tcp', '--no-tls', '--no-dtls', '--no-cli', '--log-file=stdout', '--simple-log', `--pidfile=${join(directory, 'pid')}`, `--db=${join(directory, 'db')}`
  ])
  return `${host.addresses[0] ?? ''}:3478`
}

/** Starts coturn as a relay at port 3478 (UDP and TCP) of a host, for user `film` with the password `secret`. */
export async function startTurnServer (t: Test, host: LabHost): Promise<string> {
  const directory = await temporaryDirectory(t)
  await start(host, [
    '-n', '-L', host.address, '-p', '3478', '--lt-cred-mech', '--user', 'film:secret', '--realm', 'lab', '--fingerprint',
    '--no-tls', '--no-dtls', '--no-cli', '--log-file=stdout', '--simple-log', `--pidfile=${join(directory, 'pid')}`, `--db=${join(directory, 'db')}`
  ])
  return `turn:${host.address}:3478`
}

async function start (host: LabHost, args: readonly string[]): Promise<void> {
  const server = host.spawn('turnserver', args)
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  let output = ''
  server.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output = (output + text).slice(-10_000)
    // It opens one socket after the other; this is said after the last.
    if (/Total General servers/.test(output)) resolve()
  })
  server.stderr?.resume()
  void once(server, 'exit').then(([code]) => { reject(code === 127 ? missing('coturn') : new Error(`turnserver ended: ${output}`)) })
  await promise
}
