import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { abortable } from '../deadline.ts'
import { streamBody } from '../http/body.ts'
import { contentTypeOf } from '../http/content-type.ts'
import { planResponse } from '../http/plan-response.ts'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { SourceFile } from '../source.ts'

/** A file that a program of this machine may read for a while. */
export interface Lent {
  /** On loopback, and not to be guessed. */
  readonly url: string
  /** How many bytes of it went out so far. */
  readonly sentBytes: () => number
  /** What kept an answer from being whole, other than its reader; null: nothing did. A program may take it for the end of the file. */
  readonly failure: () => unknown
  /** Nobody reads it any more from now on. Twice does nothing more. */
  release (): void
}

interface Loan {
  readonly file: SourceFile
  readonly signal: AbortSignal
  sentBytes: number
  failure: unknown
}

/**
 * Gives files of the chain to media programs of this machine over HTTP on loopback: at an address of its own for each, so
 * that such a program needs no token, secret path or signature, and can reach nothing else by it. Opened when it is needed.
 */
export class Loopback {
  readonly #lent = new Map<string, Loan>()
  #server: Promise<Server> | null = null

  /** Lends it until it is released or the signal aborts. Rejects with what the system says where it cannot listen. */
  async lend (file: SourceFile, signal: AbortSignal): Promise<Lent> {
    this.#server ??= this.#listen()
    const server = await this.#server
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('the loopback server does not listen')
    const path = `/${randomBytes(16).toString('hex')}`
    const over = new AbortController()
    const release = (): void => {
      this.#lent.delete(path)
      over.abort()
    }
    const loan: Loan = { file, signal: AbortSignal.any([signal, over.signal]), sentBytes: 0, failure: null }
    this.#lent.set(path, loan)
    return { url: `http://127.0.0.1:${address.port}${path}`, sentBytes: () => loan.sentBytes, failure: () => loan.failure, release }
  }

  async close (): Promise<void> {
    const server = await this.#server?.catch(() => null)
    server?.closeAllConnections()
    server?.close()
  }

  async #listen (): Promise<Server> {
    const server = createServer((request, response) => {
      // Answers are cut where they fail: the program asks again, or gives up.
      this.#answer(request, response).catch(() => { response.destroy() })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return server
  }

  async #answer (request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { url = '', method, headers } = request
    const lent = this.#lent.get(url)
    if (lent === undefined || (method !== 'GET' && method !== 'HEAD')) {
      response.writeHead(404).end()
      return
    }
    const { file } = lent
    const gone = new AbortController()
    response.once('close', () => { gone.abort() })
    const signal = AbortSignal.any([lent.signal, gone.signal])
    const plan = planResponse({ method, headers, representation: { ...file, contentType: contentTypeOf(file.name), fileName: file.name, isDownload: false, cacheControl: 'no-store' } })
    response.writeHead(plan.status, plan.headers)
    let isTaken = true
    try {
      if (plan.body !== null) {
        for await (const chunk of streamBody(plan.body, (range) => file.read(range, signal))) {
          isTaken = false
          await abortable(written(response, chunk), signal)
          isTaken = true
          lent.sentBytes += chunk.length
        }
      }
      response.end()
    } catch (error) {
      if (isTaken && !signal.aborted) lent.failure = error
      throw error
    }
  }
}

/** The chunk belongs to its source again when the socket has it. */
async function written (response: ServerResponse, chunk: Uint8Array): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  response.write(chunk, (error) => {
    if (error == null) resolve()
    else reject(error)
  })
  await promise
}
