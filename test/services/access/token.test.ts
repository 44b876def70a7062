import { chmod, mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { digest, isSameSecret, keyFor, makeSecret, openSecret, readSecret } from '../../../services/access/token.ts'
import { silent } from '../../../services/log.ts'
import { temporaryDirectory } from '../../testnet.ts'

const writes = { isReadOnly: false, log: silent }

t.test('a secret is made once, kept for nobody else to read, and found again', async (t) => {
  const directory = await temporaryDirectory(t)
  const made = await openSecret(directory, 'api-token', writes)
  t.match(made, { isNew: true, value: /^[\w-]{43}$/ })
  const path = join(directory, '.self-streme', 'api-token')
  t.equal((await stat(path)).mode & 0o777, 0o600)
  t.equal(await readFile(path, 'utf8'), `${made.value}\n`)
  t.same(await openSecret(directory, 'api-token', writes), { value: made.value, isNew: false })
  t.not((await openSecret(directory, 'signing-key', writes)).value, made.value)
})

t.test('one that others could read is shut', async (t) => {
  const directory = await temporaryDirectory(t)
  const { value } = await openSecret(directory, 'api-token', writes)
  const path = join(directory, '.self-streme', 'api-token')
  await chmod(path, 0o644)
  t.same(await openSecret(directory, 'api-token', writes), { value, isNew: false })
  t.equal((await stat(path)).mode & 0o777, 0o600)
})

t.test('what is no secret is replaced by one', async (t) => {
  for (const content of ['', '\n', 'short', 'with some spaces in it, and long', '\u0000'.repeat(43)]) {
    const directory = await temporaryDirectory(t)
    await mkdir(join(directory, '.self-streme'))
    await writeFile(join(directory, '.self-streme', 'api-token'), content)
    t.match(await openSecret(directory, 'api-token', writes), { isNew: true, value: /^[\w-]{43}$/ }, JSON.stringify(content))
  }
})

t.test('where nothing is written, one that is there counts, and else one that is forgotten', async (t) => {
  const directory = await temporaryDirectory(t)
  const options = { isReadOnly: true, log: silent }
  t.equal((await openSecret(directory, 'api-token', options)).isNew, true)
  t.equal(await readSecret(directory, 'api-token'), null)
  const { value } = await openSecret(directory, 'api-token', writes)
  t.same(await openSecret(directory, 'api-token', options), { value, isNew: false })
})

t.test('secrets are compared whole, and each purpose has a key of its own', async (t) => {
  const own = makeSecret()
  t.ok(isSameSecret(own, digest(own)))
  for (const other of ['', own.slice(1), `${own}x`, own.toUpperCase(), makeSecret()]) t.notOk(isSameSecret(other, digest(own)), other)
  t.notSame(keyFor('session', own), keyFor('stream', own))
  t.notSame(keyFor('session', own), keyFor('session', `${own}x`))
  t.same(keyFor('session', own), keyFor('session', own))
})
