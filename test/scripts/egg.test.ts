import { readFile } from 'node:fs/promises'
import t from 'tap'
import Type from 'typebox'
import { Errors } from 'typebox/value'
import { egg } from '../../scripts/egg.ts'
import { readConfig, schema } from '../../services/config.ts'

/** Names that the panels use themselves: a variable of that name is refused, or renamed. */
const reserved = ['SERVER_MEMORY', 'SERVER_IP', 'SERVER_PORT', 'ENV', 'HOME', 'USER', 'STARTUP', 'SERVER_UUID', 'UUID', 'P_SERVER_UUID', 'P_SERVER_ALLOCATION_LIMIT', 'MODIFIED_STARTUP', 'INTERNAL_IP', 'HOSTNAME', 'TERM', 'LANG', 'PWD', 'TZ', 'TIMEZONE']

const text = (pattern: string) => Type.String({ pattern })

/** What Pterodactyl's and Pelican's importers of PTDL_v2 read (EggParserService, EggImporterService). */
const ptdl = Type.Object({
  _comment: Type.String(),
  meta: Type.Object({ version: Type.Literal('PTDL_v2'), update_url: Type.Null() }),
  exported_at: text('^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}:\\d{2}[+-]\\d{2}:\\d{2}$'),
  name: Type.String({ minLength: 1, maxLength: 191 }),
  author: text('^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$'),
  description: Type.String(),
  features: Type.Null(),
  docker_images: Type.Record(Type.String({ minLength: 1 }), text('^[\\w.:/-]+$')),
  file_denylist: Type.Array(Type.String()),
  startup: Type.String({ minLength: 1 }),
  config: Type.Object({ files: Type.String(), startup: Type.String(), logs: Type.String(), stop: Type.String({ minLength: 1 }) }),
  scripts: Type.Object({ installation: Type.Object({ script: Type.String({ minLength: 1 }), container: text('^[\\w.:/-]+$'), entrypoint: Type.String({ minLength: 1 }) }) }),
  variables: Type.Array(Type.Object({
    name: Type.String({ minLength: 1, maxLength: 191 }),
    description: Type.String(),
    env_variable: text('^[A-Z][A-Z0-9_]{0,190}$'),
    default_value: Type.String(),
    user_viewable: Type.Boolean(),
    user_editable: Type.Boolean(),
    rules: Type.String({ minLength: 1 }),
    field_type: Type.Literal('text')
  }, { additionalProperties: false }))
}, { additionalProperties: false })

interface Variable { readonly env_variable: string, readonly default_value: string, readonly rules: string, readonly user_editable: boolean }

const made = JSON.parse(egg())
const variables: readonly Variable[] = made.variables

/** Does a value pass these rules, as Laravel reads them? Throws for a rule that it does not have. */
function passes (value: string, rules: string): boolean {
  const list = rules.split('|').map((rule) => { const at = rule.indexOf(':'); return at === -1 ? [rule, ''] as const : [rule.slice(0, at), rule.slice(at + 1)] as const })
  if (value === '') return list.some(([name]) => name === 'nullable')
  const isNumber = list.some(([name]) => name === 'integer' || name === 'numeric')
  return list.every(([name, argument]) => {
    switch (name) {
      case 'nullable': case 'required': case 'string': return true
      case 'integer': return /^-?\d+$/.test(value)
      case 'numeric': return value.trim() !== '' && Number.isFinite(Number(value))
      case 'min': return isNumber && Number(value) >= Number(argument)
      case 'max': return isNumber ? Number(value) <= Number(argument) : value.length <= Number(argument)
      case 'in': return argument.split(',').includes(value)
      case 'regex': return new RegExp(argument.slice(1, argument.lastIndexOf('/'))).test(value)
      default: throw new Error(`Laravel has no rule ${name} that is used here`)
    }
  })
}

t.test('the egg in the repository is the one that the schema makes', async (t) => {
  t.equal(await readFile(new URL('../../deploy/egg-self-streme.json', import.meta.url), 'utf8'), egg(), 'else: node scripts/egg.ts > deploy/egg-self-streme.json')
})

t.test('both panels can import it', async (t) => {
  t.same(Errors(ptdl, made), [])
  for (const part of ['files', 'startup', 'logs']) t.doesNotThrow(() => JSON.parse(made.config[part]), `config.${part} is JSON in a text`)
  t.match(made.config.stop, /^\^(?:C|SIG[A-Z]+)$|^[a-z]+$/)
  t.notMatch(made.startup, /[;&|<>$`]/, 'some images start it without a shell')
  const names = variables.map((variable) => variable.env_variable)
  t.equal(new Set(names).size, names.length, 'no variable twice')
  t.same(names.filter((name) => reserved.includes(name)), [], 'no name that a panel uses')
})

t.test('it waits for the line that the server prints, and no other', async (t) => {
  const { done } = JSON.parse(made.config.startup)
  const server = await readFile(new URL('../../server.ts', import.meta.url), 'utf8')
  t.ok(server.includes(`process.stdout.write(\`${done} `))
})

t.test('every setting is a variable of it, and its defaults are values that the server takes', async (t) => {
  const names = new Set(variables.map((variable) => variable.env_variable))
  for (const name of Object.keys(schema.properties)) t.ok(names.has(name), name)
  const env = Object.fromEntries(variables.map(({ env_variable: name, default_value: value }) => [name, value]))
  const config = readConfig({ ...env, P_SERVER_UUID: 'x', SERVER_PORT: '25565', SERVER_MEMORY: '512' })
  t.match(config, { PORT: 25565, HOST: '0.0.0.0', CACHE_MAX_DISK_MB: 2000, ENABLE_PORT_MAPPING: false, SEED_RATIO: 0, SHUTDOWN_GRACE: 2, API_TOKEN: null })
  // What the egg does not decide is what a panel has without it.
  const plain = readConfig({ P_SERVER_UUID: 'x', SERVER_PORT: '25565' })
  const decided = ['SHUTDOWN_GRACE', 'MAX_TORRENTS', 'LOG_FORMAT']
  for (const [name, value] of Object.entries(plain)) if (!decided.includes(name)) t.same(Object.entries(config).find(([other]) => other === name)?.[1], value, name)
})

t.test('the rules let every default through, and wrong values not', async (t) => {
  for (const { env_variable: name, default_value: value, rules } of variables) {
    // Whoever creates a server has to say what is installed.
    if (name !== 'SOURCE_URL') t.ok(passes(value, rules), `${name}=${value}: ${rules}`)
  }
  const rulesOf = (name: string): string => variables.find((variable) => variable.env_variable === name)?.rules ?? ''
  const wrong: Array<[string, string]> = [['CACHE_MAX_DISK_MB', ''], ['CACHE_MAX_DISK_MB', '10'], ['P2P_TIMEOUT', 'soon'], ['TORRENT_PORT', '65536'], ['ENABLE_P2P', 'maybe'], ['LOG_LEVEL', 'loud'], ['UPLOAD_LIMIT', 'much'], ['SOURCE_REF', '$(reboot)'], ['SOURCE_REF', '']]
  for (const [name, value] of wrong) t.notOk(passes(value, rulesOf(name)), `${name}=${value}`)
  for (const [name, value] of [['UPLOAD_LIMIT', 'none'], ['UPLOAD_LIMIT', '100'], ['ENABLE_P2P', 'false'], ['SOURCE_REF', 'release/v1.2']] as const) t.ok(passes(value, rulesOf(name)), `${name}=${value}`)
})

t.test('what it offers to choose from, the server takes', async (t) => {
  for (const { env_variable: name, rules } of variables) {
    const [, choices] = /(?:^|\|)in:([^|]*)/.exec(rules) ?? []
    for (const choice of choices?.split(',') ?? []) t.doesNotThrow(() => readConfig({ [name]: choice }), `${name}=${choice}`)
  }
})
