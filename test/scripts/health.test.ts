import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'

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
