import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { startServer } from '../server-process.ts'
import { freePort, temporaryDirectory } from '../testnet.ts'

const script = fileURLToPath(new URL('../../scripts/health.ts', import.meta.url))

async function exitCode (t: Test, env: NodeJS.ProcessEnv) {
  const child = spawn(process.execPath, [script], { cwd: t.testdir(), env: { PATH: process.env.PATH, ...env }, stdio: 'ignore' })
  t.teardown(() => { child.kill('SIGKILL') })
  const [code] = await once(child, 'exit')
  return code
}

async function listen (t: Test, status: number) {
  const paths: Array<string | undefined> = []
  const server = createServer((request, response) => {
    paths.push(request.url)
    response.writeHead(status).end()
  }).listen(0, '127.0.0.1')
  t.teardown(() => { server.close() })
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return { port: String(address.port), paths, server }
}

t.test('a server that answers is healthy, on the port that it was given', async t => {
  const { port, paths } = await listen(t, 200)
  t.equal(await exitCode(t, { PORT: port }), 0)
  t.equal(await exitCode(t, { P_SERVER_UUID: 'a', PORT: '1', SERVER_PORT: port, HOST: '127.0.0.1' }), 0)
  t.same(paths, ['/health', '/health'])
})

t.test('one that answers with an error is not', async t => {
  const { port } = await listen(t, 503)
  t.equal(await exitCode(t, { PORT: port }), 1)
})

t.test('nor is one that is gone', async t => {
  const { port, server } = await listen(t, 200)
  server.close()
  await once(server, 'close')
  t.equal(await exitCode(t, { PORT: port }), 1)
})

t.test('the real server is healthy on the port of its own .env, and not any more when it has stopped', async (t) => {
  const cwd = await temporaryDirectory(t)
  const port = await freePort()
  await writeFile(join(cwd, '.env'), `PORT=${port}\nHOST=0.0.0.0\nENABLE_P2P=false\n`)
  const server = await startServer(t, { PORT: '' }, cwd)
  const check = async () => {
    const child = spawn(process.execPath, [script], { cwd, env: { PATH: process.env.PATH }, stdio: 'ignore' })
    t.teardown(() => { child.kill('SIGKILL') })
    const [code] = await once(child, 'exit')
    return code
  }
  t.equal(server.port, port)
  t.equal(await check(), 0)
  await server.stop('SIGTERM')
  t.equal(await check(), 1)
})
