// Must parse on any Node from 12 on: no top-level await, no newer syntax, no `node:` prefix.
import { spawn } from 'child_process'
import { existsSync } from 'fs'
import { fileURLToPath } from 'url'

const isWindows = process.platform === 'win32'
const bundled = fileURLToPath(new URL('./node_modules/node/bin/node' + (isWindows ? '.exe' : ''), import.meta.url))
const server = fileURLToPath(new URL('./server.ts', import.meta.url))

function refuse () {
  console.error(`Self-Streme needs Node 24 or newer, this is ${process.version}: install Node 24, or run \`npm ci\`, which brings it`)
  process.exit(1)
}

if (Number(process.versions.node.split('.')[0]) >= 24) {
  import('./server.ts')
} else if (existsSync(bundled)) {
  // In a group of its own: Ctrl-C reaches a whole group, and forwarded on top of that it would be the second signal, "now!".
  const child = spawn(bundled, [server].concat(process.argv.slice(2)), { stdio: 'inherit', detached: !isWindows })
  child.on('error', refuse) // there, but not for this machine: another libc or processor
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => {
    if (signal === null) process.exit(code)
    process.removeAllListeners(signal)
    process.kill(process.pid, signal)
  })
} else {
  refuse()
}
