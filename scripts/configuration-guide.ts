import { expectation, topics } from '../services/config.ts'

const head = `\
# Settings

Made from the schema by \`npm run docs\`; \`.env.hybrid-http\` is the same as a file to start from. Variables of the environment
win over \`.env\`. An empty value means the default, the word \`none\` means none, lists are comma separated. A wrong value stops
the start with a message that names the variable.

\`\`\`console
$ cp .env.hybrid-http .env
$ npm run -s config -- --changed
\`\`\`

The second command shows what the server would run with and where each value has come from. On a game panel
(\`P_SERVER_UUID\` is set) some defaults are others.
`

/** The text of docs/configuration.md, made from the schema. */
export function configurationGuide (): string {
  const sections = Object.entries(topics).map(([topic, variables]) => {
    const rows = Object.entries(variables).map(([name, schema]) => {
      const panel = 'panelDefault' in schema ? `; on a panel \`${String(schema.panelDefault)}\`` : ''
      const reserved = 'status' in schema ? '*No effect yet.* ' : ''
      return `| \`${name}\` | ${defaultOf(schema)}${panel} | ${cell(`${reserved}${String(schema.description)}`)} | ${cell(expectation(schema))} |`
    })
    return `## ${topic}\n\n| variable | default | what for | what it may be |\n|---|---|---|---|\n${rows.join('\n')}\n`
  })
  return [head, ...sections].join('\n')
}

function defaultOf (schema: object): string {
  if ('whenUnset' in schema) return cell(String(schema.whenUnset))
  const value: unknown = 'default' in schema ? schema.default : null
  if (value === null || (Array.isArray(value) && value.length === 0)) return '`none`'
  return Array.isArray(value) ? value.map((entry) => `\`${String(entry)}\``).join('<br>') : `\`${String(value)}\``
}

/** As it may stand in a table: braces and angle brackets are code in these texts. */
function cell (text: string): string {
  return text.replaceAll('|', '\\|').replaceAll('<', '&lt;')
}

if (import.meta.main) process.stdout.write(configurationGuide())
