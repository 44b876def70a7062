import { once } from 'node:events'
import type { Server } from 'node:http'
import type { Test } from 'tap'

/** Makes the server listen on a free port of 127.0.0.1 until the test is over; gives its origin, without a slash. */
export async function listenOnLoopback (t: Test, server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('the server does not listen')
  return `http://127.0.0.1:${address.port}`
}
