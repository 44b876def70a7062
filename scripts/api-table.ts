// Writes the table of the API in README.md anew, from the description that the server gives of itself.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildApp } from '../app.ts'
import { readConfig } from '../services/config.ts'

/** What this needs of an OpenAPI document. */
export interface Described {
  readonly paths?: Readonly<Record<string, object | undefined>> | undefined
}

interface Operation {
  readonly method: string
  readonly summary: string
  readonly query: readonly string[]
  readonly who: string
}

const begin = '<!-- the API: npm run docs -->\n'
const end = '<!-- until here -->\n'

/** The README with the table of this document in its place. Throws when it has no place for it. */
export function withApiTable (readme: string, document: Described): string {
  const [before, rest] = readme.split(begin)
  const after = rest?.split(end)[1]
  if (before === undefined || after === undefined) throw new Error(`there is no ${begin.trim()} and ${end.trim()}`)
  return `${before}${begin}${apiTable(document)}${end}${after}`
}

function apiTable ({ paths = {} }: Described): string {
  const rows = Object.entries(paths).flatMap(([path, methods]) => operationsOf(methods ?? {}).map(({ method, summary, query, who }) => {
    const parameters = query.length === 0 ? '' : `; ${query.map((name) => `\`?${name}\``).join(' ')}`
    return `| \`${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}\` | ${summary}${parameters} | ${who} |\n`
  }))
  return `| | | who |\n|---|---|---|\n${rows.join('')}`
}

/** HEAD is as GET, and OPTIONS is for browsers. */
function operationsOf (methods: object): Operation[] {
  return Object.entries(methods).flatMap(([method, operation]: [string, unknown]) => {
    if (!/^(?:get|post|delete|put|patch)$/.test(method) || typeof operation !== 'object' || operation === null) return []
    const { summary = '', parameters = [], security = [] }: { summary?: unknown, parameters?: unknown, security?: unknown } = operation
    const query = Array.isArray(parameters) ? parameters.filter((parameter) => parameter.in === 'query').map(({ name }) => String(name)) : []
    const kinds = JSON.stringify(security)
    return [{ method: method.toUpperCase(), summary: String(summary), query, who: kinds === '[]' ? 'all' : kinds.includes('signature') ? '`STREAM_ACCESS`' : 'owner' }]
  })
}

if (import.meta.main) {
  const directory = await mkdtemp(join(tmpdir(), 'self-streme-docs-'))
  const app = await buildApp({ config: readConfig({ TORRENT_DOWNLOAD_PATH: directory, MEDIA_PATHS: 'none', ENABLE_P2P: 'false' }) })
  await app.ready()
  const path = fileURLToPath(new URL('../README.md', import.meta.url))
  await writeFile(path, withApiTable(await readFile(path, 'utf8'), app.swagger()))
  await app.close()
  await rm(directory, { recursive: true })
}
