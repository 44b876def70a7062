import { once } from 'node:events'
import { createServer, connect } from 'node:net'
import { Duplex } from 'node:stream'
import t from 'tap'
import type { Test } from 'tap'
import { Dial } from '../../../services/swarm/dial.ts'
import { freePort } from '../../testnet.ts'

/** A connection that never answers. */
function silence (): Duplex {
  return new Duplex({ read () {}, write (_chunk, _encoding, done) { done() } })
}

async function startServer (t: Test): Promise<{ port: number, open: () => Duplex, connections: () => number }> {
  let connections = 0
  const server = createServer((socket) => {
    connections++
    socket.on('error', () => {})
    t.teardown(() => { socket.destroy() })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const { port } = address
  return { port, open: () => connect(port, '127.0.0.1'), connections: () => connections }
}

t.test('one way is refused and the other says nothing -> it has failed within two seconds', async (t) => {
  const port = await freePort()
  const startedAt = performance.now()
  const dial = new Dial([silence, () => connect(port, '127.0.0.1')], { delayMs: 10 }, () => { t.fail('nobody answers') })
  const [error] = await once(dial, 'error')
  t.equal(error.code, 'ECONNREFUSED')
  const ms = performance.now() - startedAt
  t.ok(ms > 1_900 && ms < 4_000, `${ms} ms`)
})

t.test('the first way answers -> the second is never tried', async (t) => {
  const first = await startServer(t)
  const second = await startServer(t)
  const winners: Duplex[] = []
  const dial = new Dial([first.open, second.open], { delayMs: 50 }, (winner) => { winners.push(winner) })
  await once(dial, 'connect')
  t.equal(winners.length, 1, 'the winner was handed over before connect')
  const closed = once(dial, 'close')
  winners[0]?.destroy()
  await closed
  t.equal(second.connections(), 0)
})

t.test('the first way is silent -> the second connects soon, and the first is dropped', async (t) => {
  const server = await startServer(t)
  const first = silence()
  const startedAt = performance.now()
  const dial = new Dial([() => first, server.open], { delayMs: 50 }, () => {})
  await once(dial, 'connect')
  t.ok(performance.now() - startedAt >= 45, 'the first was alone for a while')
  t.ok(first.destroyed)
})

t.test('the first way is refused -> the second is tried at once', async (t) => {
  const server = await startServer(t)
  const dead = await freePort()
  const dial = new Dial([() => connect(dead, '127.0.0.1'), server.open], { delayMs: 60_000 }, () => {})
  await once(dial, 'connect')
  t.equal(server.connections(), 1)
})

t.test('both are refused -> one error, one close', async (t) => {
  const dead = await freePort()
  const open = (): Duplex => connect(dead, '127.0.0.1')
  const dial = new Dial([open, open], { delayMs: 50 }, () => { t.fail('nobody won') })
  const heard: string[] = []
  dial.on('error', (error) => { heard.push(`error ${'code' in error ? String(error.code) : ''}`) })
  await new Promise<void>(resolve => {
    dial.on('close', () => {
      heard.push('close')
      resolve()
    })
  })
  t.same(heard, ['error ECONNREFUSED', 'close'])
  t.ok(dial.destroyed)
})

t.test('given up while it dials -> close, no error, and nothing stays open', async (t) => {
  const attempts: Duplex[] = []
  const open = (): Duplex => {
    const attempt = silence()
    attempts.push(attempt)
    return attempt
  }
  const dial = new Dial([open, open], { delayMs: 10 }, () => { t.fail('nobody won') })
  dial.on('error', () => { t.fail('no error') })
  const closed = once(dial, 'close')
  dial.destroy()
  dial.destroy()
  await closed
  t.same(attempts.map((attempt) => attempt.destroyed), [true])
})

t.test('a way that connects after the end is closed', async (t) => {
  const late = silence()
  const dial = new Dial([() => late, silence], { delayMs: 60_000 }, () => { t.fail('too late') })
  dial.destroy()
  late.emit('connect')
  t.ok(late.destroyed)
})

t.test('with a limit: ways are tried in their time, failed ones hurry none, and the end is one error', async (t) => {
  const startedAt = performance.now()
  const tries: number[] = []
  const refused = (): Duplex => {
    tries.push(performance.now() - startedAt)
    const attempt = silence()
    process.nextTick(() => { attempt.destroy(new Error('refused')) })
    return attempt
  }
  const dial = new Dial([refused, refused, refused], { delayMs: 60, limitMs: 300 }, () => { t.fail('nobody won') })
  dial.on('close', () => { t.fail('it would be dialled again') })
  const [error] = await once(dial, 'error')
  t.match(error, { message: 'refused' })
  t.ok(performance.now() - startedAt >= 295)
  t.equal(tries.length, 3)
  t.ok((tries[1] ?? 0) >= 55 && (tries[2] ?? 0) >= 115, tries.join())
  t.ok(dial.destroyed)
})

t.test('with a limit, given up before -> one error, and a winner closes as any', async (t) => {
  const dial = new Dial([silence], { delayMs: 60, limitMs: 60_000 }, () => {})
  const failed = once(dial, 'error')
  dial.destroy()
  await failed
  const server = await startServer(t)
  const winners: Duplex[] = []
  const won = new Dial([silence, server.open], { delayMs: 10, limitMs: 60_000 }, (winner) => { winners.push(winner) })
  await once(won, 'connect')
  const closed = once(won, 'close')
  winners[0]?.destroy()
  await closed
})
