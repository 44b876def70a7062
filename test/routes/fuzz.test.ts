import fc from 'fast-check'
import t from 'tap'
import { startApp } from '../helper.ts'
import { amount, seedOf, tellFigure } from '../soak.ts'
import { ask, documentPath, Spec } from '../spec.ts'
import { until } from '../testnet.ts'
import type { Arbitrary } from 'fast-check'
import type { Operation, Parameter, SpecRequest } from '../spec.ts'

const RUNS = amount('SOAK_FUZZ', 100)
/** No answer takes longer: every source that there is says at once that it has nothing. */
const LIMIT_MS = 10_000

const hashes = ['39730aa7c09b864432bc8c878c20c933059241fd', '39730AA7C09B864432BC8C878C20C933059241FD', 'HFZQVJ6ATODEIMV4RSD4EDGJGMCZEQP5', 'a'.repeat(40)]

/** Any text, more often than not one that means something somewhere. */
const text = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'binary', maxLength: 60 }) },
  { weight: 2, arbitrary: fc.constantFrom(...hashes, '', '0', '-1', '1e400', 'true', 'null', 'NaN', '../..', '%2e%2e', '\u0000', '\r\nX-Evil: 1', '\u202E', '__proto__', 'constructor', 'bytes=0-', 'bytes=-1', 'bytes=9-1', 'bytes=0-0,2-2', '*', '"', 'x'.repeat(1999), 'x'.repeat(2001), `magnet:?xt=urn:btih:${hashes[0]}`, 'magnet:?xt=urn:btih:&so=0-99999') },
  { weight: 1, arbitrary: fc.bigInt().map(String) }
)

/** Values that a parameter may have, and that it may not. */
function valueOf ({ name, schema, example }: Parameter): Arbitrary<string> {
  const ways = [text]
  if (name === 'infoHash') ways.push(fc.constantFrom(...hashes))
  if (schema['type'] === 'integer') ways.push(fc.integer().map(String), fc.integer({ min: 0, max: 1000 }).map(String))
  if (schema['type'] === 'boolean') ways.push(fc.constantFrom('true', 'false'))
  if (example !== undefined) ways.push(fc.constant(String(example)))
  return fc.oneof(...ways)
}

function bodyOf (type: string): Arbitrary<string | Buffer> {
  const fields = fc.dictionary(fc.constantFrom('magnetUri', 'infoHash', 'name', 'torrent', 'range', 'fileIndex', '__proto__', 'x'), fc.oneof(text, fc.jsonValue()))
  if (type === 'application/json') return fc.oneof(fields.map((value) => JSON.stringify(value)), fc.json(), text)
  if (!type.startsWith('multipart')) return fc.oneof(fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)), text.map((value) => `d4:info${value}e`))
  const part = fc.tuple(text, fc.option(text), text).map(([name, file, value]) => `--B\r\nContent-Disposition: form-data; name="${name}"${file === null ? '' : `; filename="${file}"`}\r\n\r\n${value}\r\n`)
  return fc.tuple(fc.array(part, { maxLength: 4 }), fc.constantFrom('--B--\r\n', '--B--', '', '--B')).map(([parts, end]) => parts.join('') + end)
}

/** Any request of an operation. */
function requestOf (method: string, path: string, { parameters = [], requestBody }: Operation): Arbitrary<SpecRequest> {
  const inPath = parameters.filter((parameter) => parameter.in === 'path')
  const others = parameters.filter((parameter) => parameter.in !== 'path')
  const types = Object.keys(requestBody?.content ?? {})
  return fc.record({
    path: fc.tuple(...inPath.map(valueOf)),
    others: fc.tuple(...others.map((parameter) => fc.option(fc.array(valueOf(parameter), { minLength: 1, maxLength: 2 }), { freq: 2 }))),
    stray: fc.option(fc.tuple(text, text), { freq: 5 }),
    body: types.length === 0 ? fc.constant(null) : fc.constantFrom(...types).chain((type) => bodyOf(type).map((body) => ({ type, body })))
  }).map((choice) => {
    const values = new Map(inPath.map(({ name }, i) => [name, choice.path[i] ?? '']))
    const query = others.flatMap(({ name, in: where }, i) => where === 'query' ? (choice.others[i] ?? []).map((value) => [name, value] as const) : [])
    const all = [...query, ...choice.stray === null ? [] : [choice.stray]]
    const headers = Object.fromEntries(others.flatMap(({ name, in: where }, i) => where === 'header' ? (choice.others[i] ?? []).map((value) => [name, value.replace(/[^\x20-\x7e]/g, '?')]) : []))
    return {
      method,
      path: path.replace(/\{([\w*]+)\}/g, (_match, name: string) => encoded(values.get(name) ?? '')) + (all.length === 0 ? '' : `?${all.map(([name, value]) => `${encoded(name)}=${encoded(value)}`).join('&')}`),
      headers: choice.body === null ? headers : { ...headers, 'Content-Type': choice.body.type.startsWith('multipart') ? `${choice.body.type}; boundary=B` : choice.body.type },
      ...choice.body === null ? {} : { body: choice.body.body }
    }
  })
}

function encoded (value: string): string {
  return encodeURIComponent(value.toWellFormed())
}

t.test('whatever is sent as a parameter or a body: an answer as described, soon, and nothing is left behind', { timeout: 600_000 + RUNS * 2000 }, async (t) => {
  const seed = seedOf(t)
  const warnings: string[] = []
  const onWarning = ({ message }: Error): void => { warnings.push(message) }
  process.on('warning', onWarning)
  t.teardown(() => { process.off('warning', onWarning) })
  const { app, url } = await startApp(t)
  const get = async (path: string) => JSON.parse((await ask(url, { method: 'GET', path })).body.toString())
  const spec = new Spec(await get('/openapi.json'))
  let [count, slowest] = [0, 0]
  for (const { method, path, operation } of spec.operations) {
    await fc.assert(fc.asyncProperty(requestOf(method, path, operation), async (request) => {
      count++
      const startedAt = performance.now()
      const answer = await ask(url, request, LIMIT_MS)
      slowest = Math.max(slowest, performance.now() - startedAt)
      // 503 is right where something is full.
      if (answer.status >= 500 && answer.status !== 503) throw new Error(`${answer.status}: ${answer.body.toString()}`)
      // A value may make it another route's path; then that one describes the answer.
      const own = app.routes.filter(({ matches, methods }) => methods.includes(method) && matches(request.path.split('?')[0] ?? ''))
      const isOther = path.includes('{') && (own.length !== 1 || own.some(({ url }) => documentPath(url) !== path))
      const mistakes = isOther ? [] : spec.mistakesOf(method, operation, answer)
      if (mistakes.length > 0) throw new Error(mistakes.join('; '))
    }), { numRuns: method === 'OPTIONS' ? Math.ceil(RUNS / 10) : RUNS, seed, endOnFailure: RUNS < 1000 })
    t.pass(`${method} ${path}`)
  }
  tellFigure(t, 'fuzz: requests', count)
  tellFigure(t, 'fuzz: slowest answer in ms', Math.round(slowest))

  await until('no connection is left', async () => await new Promise((resolve, reject) => {
    app.server.getConnections((error, open) => {
      if (error === null) resolve(open === 0)
      else reject(error)
    })
  }))
  t.equal(app.live.size, 0, 'nobody follows')
  await until('no torrent is busy but those that were added', () => app.torrents.list().every(({ infohash }) => !app.torrents.isBusy(infohash) || app.torrentList.isAdded(infohash)))
  t.same(warnings, [], 'no warning of too many listeners')
  t.match(await get('/health'), { status: 'ok' })
})
