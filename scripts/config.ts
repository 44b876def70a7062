// Shows the values that the server would run with, and where each has come from.
import { parseArgs } from 'node:util'
import { configOrigins, readConfig, schema, withoutSecrets } from '../services/config.ts'
import { command } from './command.ts'

const usage = `\
Usage: npm run -s config [-- [--changed] [--json]]

Shows every setting as the server would read it: from the environment, from .env, or by default. Secrets are not shown,
nor what stands behind the host of a URL.

  --changed  only what is no default
  --json     for programs
`

await command(usage, async () => {
  const { values } = parseArgs({ options: { changed: { type: 'boolean', default: false }, json: { type: 'boolean', default: false }, help: { type: 'boolean', short: 'h' } } })
  if (values.help === true) {
    process.stdout.write(usage)
    return 0
  }
  const config = readConfig(process.env, '.env')
  const origins = configOrigins(process.env, '.env')
  const entries = Object.entries(schema.properties).map(([name, property]) => {
    const origin = origins.get(name) ?? 'default'
    const value: unknown = Object.entries(config).find(([other]) => other === name)?.[1]
    // What becomes of it where nobody has set it.
    const unset = value === null && origin.startsWith('default') && 'whenUnset' in property ? `unset: ${String(property.whenUnset)}` : null
    return { name, value: unset ?? shown(value, 'writeOnly' in property, !origin.startsWith('default')), origin }
  }).filter(({ origin }) => !values.changed || !origin.startsWith('default'))
  if (values.json) {
    process.stdout.write(`${JSON.stringify(entries, null, 2)}\n`)
    return 0
  }
  const width = Math.max(0, ...entries.map(({ name }) => name.length))
  for (const { name, value, origin } of entries) process.stdout.write(`${name.padEnd(width)}  ${value}  (${origin})\n`)
  return 0
})

/** A value as `.env` would have it. `isOurs`: a person set it, so there may be a passkey in it. */
function shown (value: unknown, isSecret: boolean, isOurs: boolean): string {
  if (value === null || value === undefined) return 'none'
  if (isSecret) return 'set, and not shown'
  const texts = (Array.isArray(value) ? value : [value]).map(String)
  if (texts.length === 0) return 'none'
  return texts.map((text) => isOurs && text.includes('://') ? withoutSecrets(text) : text).join(',')
}
