import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, symlinkSync, writeFileSync, chmodSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

// The test runner puts NODE_OPTIONS that an old Node refuses into every child: env(1) takes them out, and stays the same process.
const clean = ['-u', 'NODE_OPTIONS']
const root = fileURLToPath(new URL('..', import.meta.url))

/** The machine's own Node, where that is an old one: npm scripts and CI find the bundled 24 first on the PATH. */
function oldNode (): string | null {
  for (const path of [process.env.OLD_NODE ?? '', '/usr/bin/node', '/usr/local/bin/node']) {
    if (existsSync(path) && Number(execFileSync('env', [...clean, path, '-p', 'process.versions.node.split(".")[0]'])) < 24) return path
  }
  return null
}

const old = oldNode()
const skip = old === null ? 'no Node older than 24 on this machine' : false

/** index.js beside a server.ts of the test's own; TypeScript in it, so that only a Node that strips types runs it. */
function checkout (t: Test, server: string, bundled?: 'node 24' | 'not for this machine'): string {
  const directory = t.testdir({ 'package.json': '{"type":"module"}', 'server.ts': server })
  copyFileSync(join(root, 'index.js'), join(directory, 'index.js'))
  if (bundled === undefined) return directory
  mkdirSync(join(directory, 'node_modules/node/bin'), { recursive: true })
  const node = join(directory, 'node_modules/node/bin/node')
  if (bundled === 'node 24') {
    symlinkSync(process.execPath, node)
  } else {
    writeFileSync(node, '#!/no/such/interpreter\n')
    chmodSync(node, 0o755)
  }
  return directory
}

function start (t: Test, node: string, directory: string, ...args: string[]): ChildProcess {
  const child = spawn('env', [...clean, node, join(directory, 'index.js'), ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
  t.teardown(() => { child.kill('SIGKILL') })
  return child
}

async function outcome (child: ChildProcess) {
  const [out, err, [code, signal]] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout), child.stderr === null ? '' : text(child.stderr), once(child, 'exit')
  ])
  return { out, err, code, signal }
}

const report = 'const version: string = process.version.split(".")[0]\nconsole.log(version, ...process.argv.slice(2))\nprocess.exitCode = 7\n'

t.test('Node 24 runs the server itself, with its arguments and exit code', async t => {
  const child = start(t, process.execPath, checkout(t, 'console.log(process.pid)\n' + report), '--a', 'b c')
  t.same(await outcome(child), { out: `${child.pid}\n${process.version.split('.')[0]} --a b c\n`, err: '', code: 7, signal: null })
})

t.test('an old Node runs the bundled one, with its arguments and exit code', { skip }, async t => {
  const directory = checkout(t, report, 'node 24')
  t.same(await outcome(start(t, old ?? '', directory, '--a', 'b c')), { out: `${process.version.split('.')[0]} --a b c\n`, err: '', code: 7, signal: null })
})

t.test('what is typed reaches the server behind an old Node', { skip }, async t => {
  const child = start(t, old ?? '', checkout(t, 'process.stdin.pipe(process.stdout)', 'node 24'))
  child.stdin?.end('stop\n')
  t.match(await outcome(child), { out: 'stop\n', code: 0 })
})

t.test('a signal to an old Node reaches the server, which ends in its own way', { skip }, async t => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    const child = start(t, old ?? '', checkout(t, `
      process.on(${JSON.stringify(signal)}, () => { console.log('bye'); process.exit(3) })
      setInterval(() => {}, 1000)
      console.log(process.pid)
    `, 'node 24'))
    if (child.stdout === null) throw new Error('no stdout')
    await once(child.stdout, 'data')
    child.kill(signal)
    t.match(await outcome(child), { out: 'bye\n', code: 3, signal: null }, signal)
  }
})

t.test('Ctrl-C, which goes to the whole process group, reaches the server once', { skip }, async t => {
  const directory = checkout(t, `
    let count = 0
    process.on('SIGINT', () => { console.log(++count) })
    process.on('SIGTERM', () => process.exit(0))
    setInterval(() => {}, 1000)
    console.log('ready')
  `, 'node 24')
  const child = spawn('env', [...clean, old ?? '', join(directory, 'index.js')], { stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  t.teardown(() => { child.kill('SIGKILL') })
  await once(child.stdout, 'data')
  process.kill(-Number(child.pid), 'SIGINT')
  const [first] = await once(child.stdout, 'data')
  child.kill('SIGTERM') // forwarded after whatever was forwarded before
  t.equal(String(first) + await text(child.stdout), '1\n')
})

t.test('a server that dies of a signal is told as that', { skip }, async t => {
  const child = start(t, old ?? '', checkout(t, 'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000)', 'node 24'))
  t.match(await outcome(child), { code: null, signal: 'SIGTERM' })
})

t.test('an old Node without the bundled one says one clear line', { skip }, async t => {
  const { out, err, code } = await outcome(start(t, old ?? '', checkout(t, report)))
  t.match(err, /^Self-Streme needs Node 24 or newer, this is v\d+\.\d+\.\d+: install Node 24, or run `npm ci`, which brings it\n$/)
  t.equal(out, '')
  t.equal(code, 1)
})

t.test('so does one whose bundled Node is for another machine', { skip }, async t => {
  t.match(await outcome(start(t, old ?? '', checkout(t, report, 'not for this machine'))), {
    err: /^Self-Streme needs Node 24 or newer, this is v\S+: install Node 24, or run `npm ci`, which brings it\n$/, code: 1
  })
})

t.test('a server that cannot be loaded ends with an error', async t => {
  t.match(await outcome(start(t, process.execPath, checkout(t, 'throw new Error("broken")'))), { code: 1, err: /broken/ })
})
