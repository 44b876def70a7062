import { expectation, topics } from '../services/config.ts'

/** Set in the file, for they are what makes the configuration "hybrid"; everything else is a comment with its default. */
const active = new Set(['P2P_TIMEOUT', 'ENABLE_HTTP_FALLBACK'])

const head = `\
# The ready configuration: swarm first, HTTP when it does not deliver.
#
#   cp .env.hybrid-http .env
#
# Variables of the environment win over this file. An empty value means the default, the word none means none.
# Lists are comma separated. Each line that begins with "# NAME=" shows a default: remove the "# " to change it.
# "Reserved" variables are read and checked, but have no effect yet.
#
# Made from services/config.ts by: node scripts/env-file.ts > .env.hybrid-http
`

/** The text of .env.hybrid-http, made from the schema. */
export function envFile (): string {
  const sections = Object.entries(topics).map(([topic, variables]) => {
    const blocks = Object.entries(variables).map(([name, schema]) => {
      const reserved = 'status' in schema ? 'Reserved: no effect yet. ' : ''
      const panel = 'panelDefault' in schema ? ` On a panel: ${String(schema.panelDefault)}.` : ''
      const whenUnset = 'whenUnset' in schema ? ` Unset: ${String(schema.whenUnset)}.` : ''
      const setting = `${name}=${'whenUnset' in schema ? '' : written(schema.default)}`
      return [
        `# ${reserved}${schema.description}`,
        `# (${expectation(schema)}.${panel}${whenUnset})`,
        active.has(name) ? setting : `# ${setting}`
      ].join('\n')
    })
    return `# ---- ${topic} ----\n\n${blocks.join('\n\n')}\n`
  })
  return [head, ...sections].join('\n')
}

function written (value: unknown): string {
  if (value === null || (Array.isArray(value) && value.length === 0)) return 'none'
  return Array.isArray(value) ? value.join(',') : String(value)
}

if (import.meta.main) process.stdout.write(envFile())
