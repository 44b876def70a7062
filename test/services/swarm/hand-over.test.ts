import { once } from 'node:events'
import { connect, createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'
import { HostProcess } from '../../../services/swarm/host-process.ts'
import { testBytes, until } from '../../testnet.ts'
import { recordingLog } from './swarm-setup.ts'

const hostPath = fileURLToPath(new URL('./echo-host.ts', import.meta.url))

async function startHost (t: Test): Promise<HostProcess> {
  const host = new HostProcess(64, recordingLog(), { hostPath, heartbeatMs: 60_000 })
  t.teardown(async () => { await host.stop() })
  const up = once(host, 'up')
  host.start()
  await up
  return host
}

/** Hands over each connection after its first bytes; gives the port. */
async function startPort (t: Test, host: HostProcess): Promise<{ server: Server, port: number }> {
  const server = createServer((socket) => {
    socket.once('readable', () => {
      const bytes: unknown = socket.read()
      if (bytes instanceof Buffer) host.handOver(socket, bytes)
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  return { server, port: address !== null && typeof address === 'object' ? address.port : 0 }
}

async function dial (t: Test, port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true })
  t.teardown(() => { socket.destroy() })
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

t.test('what is sent while the connection changes hands arrives, all of it and in its order', async (t) => {
  const { port } = await startPort(t, await startHost(t))
  for (let i = 0; i < 10; i++) {
    const bytes = testBytes(500_000, `hand-over ${i}`)
    const socket = await dial(t, port)
    const chunks: Buffer[] = []
    let length = 0
    socket.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      length += chunk.length
    })
    // Packet after packet, from before it is handed over until long after.
    for (let at = 0; at < bytes.length; at += 5_000) {
      socket.write(bytes.subarray(at, at + 5_000))
      await new Promise((resolve) => { setImmediate(resolve) })
    }
    await until('all of it comes back', () => length >= bytes.length)
    if (!Buffer.concat(chunks).equals(bytes)) t.fail(`connection ${i}: other bytes`)
    socket.destroy()
  }
  t.pass('ten connections')
})

t.test('the server that accepted them can close while they live on', async (t) => {
  const host = await startHost(t)
  const { server, port } = await startPort(t, host)
  const socket = await dial(t, port)
  socket.write('before')
  t.equal(String((await once(socket, 'data'))[0]), 'before')
  await until('it is not counted any more', async () => await new Promise((resolve) => { server.getConnections((_error, count) => { resolve(count === 0) }) }))
  await new Promise((resolve) => { server.close(resolve) })
  socket.write('after')
  t.equal(String((await once(socket, 'data'))[0]), 'after')
})

t.test('while there is no process, and once it is gone, connections are dropped', async (t) => {
  const host = new HostProcess(64, recordingLog(), { hostPath, firstRestartMs: 60_000 })
  t.teardown(async () => { await host.stop() })
  const { port } = await startPort(t, host)
  const dropped = async (): Promise<void> => {
    const socket = await dial(t, port)
    const closed = new Promise((resolve) => { socket.once('close', resolve) })
    socket.resume()
    socket.write('hello')
    await closed
  }
  await dropped()
  const up = once(host, 'up')
  host.start()
  await up
  const down = once(host, 'down')
  process.kill(host.pid ?? 0, 'SIGKILL')
  await down
  await dropped()
  t.pass('both are closed')
})

t.test('a process that hangs gets no more connections than a few', async (t) => {
  const host = await startHost(t)
  process.kill(host.pid ?? 0, 'SIGSTOP')
  const { port } = await startPort(t, host)
  let closed = 0
  for (let i = 0; i < 100; i++) {
    const socket = await dial(t, port)
    socket.on('close', () => { closed++ })
    socket.resume()
    socket.write('hello')
  }
  await until('the others are turned away', () => closed >= 36)
  t.equal(closed, 36, '64 wait')
  process.kill(host.pid ?? 0, 'SIGKILL')
  await until('with the process all are gone', () => closed === 100)
})
