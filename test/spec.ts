import { request } from 'node:http'
import { once } from 'node:events'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import type { IncomingMessage } from 'node:http'
import type { ValidateFunction } from 'ajv'

/**
 * The OpenAPI document as tests use it: its operations, requests made of them, and whether an answer is as it says.
 */

/** A JSON Schema of the document. */
export interface Schema { readonly [key: string]: unknown }

export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header'
  readonly required?: boolean
  readonly description?: string
  readonly example?: unknown
  readonly schema: Schema
}

interface Answer {
  readonly description: string
  readonly headers?: Readonly<Record<string, unknown>>
  readonly content?: Readonly<Record<string, { readonly schema: Schema }>>
}

export interface Operation {
  readonly tags?: readonly string[]
  readonly summary?: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Schema, readonly example?: unknown }>> }
  readonly security?: ReadonlyArray<Readonly<Record<string, readonly string[]>>>
  readonly responses: Readonly<Record<string, Answer>>
}

export interface Document {
  readonly openapi: string
  readonly tags: ReadonlyArray<{ readonly name: string }>
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> }
}

export interface SpecRequest {
  readonly method: string
  /** With the query. */
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Buffer
}

export interface SpecAnswer {
  readonly status: number
  readonly headers: IncomingMessage['headers']
  readonly body: Buffer
}

/** What HTTP itself adds to any answer. */
const protocolHeaders = new Set(['connection', 'content-length', 'content-type', 'date', 'keep-alive', 'transfer-encoding'])

/** The document of a running server, with what it says made into checks. */
export class Spec {
  readonly document: Document
  readonly #ajv = new Ajv2020({ strict: false, allErrors: true })
  readonly #checks = new Map<Schema, ValidateFunction>()

  constructor (document: Document) {
    this.document = document
    addFormats.default(this.#ajv)
    this.#ajv.addSchema({ $id: 'https://test/', components: document.components })
  }

  get operations (): Array<{ readonly method: string, readonly path: string, readonly operation: Operation }> {
    return Object.entries(this.document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })))
  }

  /** What is wrong with this answer, by the document; nothing: an empty list. */
  mistakesOf (method: string, operation: Operation, { status, headers, body }: SpecAnswer): string[] {
    const answer = operation.responses[status] ?? (status >= 400 ? operation.responses['default'] : undefined)
    if (answer === undefined) return [`status ${status} is not described`]
    const isDefault = operation.responses[status] === undefined
    const described = new Set(Object.keys(answer.headers ?? {}).map((name) => name.toLowerCase()))
    const mistakes = isDefault ? [] : Object.keys(headers).filter((name) => !described.has(name) && !protocolHeaders.has(name)).map((name) => `${status}: header ${name} is not described`)
    if (method === 'HEAD') return body.length === 0 ? mistakes : [...mistakes, 'HEAD has a body']
    const [type = ''] = (headers['content-type'] ?? '').split(';')
    if (body.length === 0) return answer.content === undefined || headers['content-length'] === '0' ? mistakes : [...mistakes, `${status}: no body`]
    const schema = answer.content?.[type]?.schema
    if (schema === undefined) return answer.content?.['*/*'] === undefined ? [...mistakes, `${status}: a body of type ${type} is not described`] : mistakes
    if (type !== 'application/json') return mistakes
    const check = this.#check(schema)
    return check(JSON.parse(body.toString())) ? mistakes : [...mistakes, `${status}: ${this.#ajv.errorsText(check.errors)} in ${body.toString().slice(0, 300)}`]
  }

  /** Compiles a schema of the document; throws for one that makes no sense. */
  #check (schema: Schema): ValidateFunction {
    const known = this.#checks.get(schema)
    if (known !== undefined) return known
    const check = this.#ajv.compile(JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"https://test/#/components/')))
    this.#checks.set(schema, check)
    return check
  }
}

/** The path in the document of a route that was registered with this pattern. */
export function documentPath (pattern: string): string {
  return pattern.replace(/:(\w+)(\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))?/g, '{$1}').replace(/\*$/, '{*}')
}

/** The path of an operation with these values in it, encoded; those that are not given have their examples. */
export function fill (path: string, operation: Operation, values: Readonly<Record<string, string>> = {}): string {
  const parameters = operation.parameters ?? []
  return path.replace(/\{([\w*]+)\}/g, (_match, name: string) => {
    const parameter = parameters.find((candidate) => candidate.in === 'path' && candidate.name === name)
    return encodeURIComponent(values[name] ?? String(parameter?.example ?? 'x'))
  })
}

/** Asks, on a connection of its own, and reads the whole answer; of one that does not end the first bytes. Throws when there is none within `limitMs`. */
export async function ask (url: string, { method, path, headers = {}, body }: SpecRequest, limitMs = 20_000): Promise<SpecAnswer> {
  const signal = AbortSignal.timeout(limitMs)
  const { port, hostname } = new URL(url)
  const asking = request({ host: hostname, port, method, path, headers: { ...body === undefined ? {} : { 'Content-Length': Buffer.byteLength(body) }, ...headers }, agent: false, signal })
  // The answer may come, and the connection end, before a large body has left.
  asking.on('error', () => {})
  asking.end(body)
  const [response]: IncomingMessage[] = await once(asking, 'response', { signal })
  if (response === undefined) throw new Error('no response')
  const chunks: Buffer[] = []
  const isEndless = response.headers['content-type']?.startsWith('text/event-stream') === true
  try {
    for await (const chunk of response) {
      chunks.push(chunk)
      if (isEndless) break
    }
  } finally {
    asking.destroy()
  }
  return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }
}
