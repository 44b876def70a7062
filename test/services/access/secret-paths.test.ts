import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { SecretPaths, splitSecret } from '../../../services/access/secret-paths.ts'
import { silent } from '../../../services/log.ts'
import { temporaryDirectory, until } from '../../testnet.ts'

const writes = { isReadOnly: false, log: silent }

t.test('a secret path is told once, kept as a digest that nobody else reads, and known after a restart', async (t) => {
  const directory = await temporaryDirectory(t)
  const paths = await SecretPaths.open(directory, writes)
  const made = await paths.create('the TV')
  if (made === null) throw new Error('too many')
  t.match(made, { secret: /^[\w-]{22}$/, path: { name: 'the TV' } })
  const file = join(directory, '.self-streme', 'secret-paths.json')
  t.equal((await stat(file)).mode & 0o777, 0o600)
  t.notMatch(await readFile(file, 'utf8'), made.secret)
  t.same(paths.list(), [made.path])
  const again = await SecretPaths.open(directory, writes)
  t.equal(await again.has(made.secret), true)
  t.same(again.list(), [made.path])
  for (const other of ['', made.secret.slice(1), `${made.secret}x`, made.path.id]) t.equal(await again.has(other), false, other)
})

t.test('one that is revoked counts no more, now and after a restart', async (t) => {
  const directory = await temporaryDirectory(t)
  const paths = await SecretPaths.open(directory, writes)
  const [first, second] = [await paths.create('a'), await paths.create('b')]
  if (first === null || second === null) throw new Error('too many')
  t.equal(await paths.revoke(first.path.id), true)
  t.equal(await paths.revoke(first.path.id), false)
  for (const server of [paths, await SecretPaths.open(directory, writes)]) {
    t.equal(await server.has(first.secret), false)
    t.equal(await server.has(second.secret), true)
  }
})

t.test('what uses one that is revoked ends; what had ended before, or uses another, is left alone', async (t) => {
  const paths = await SecretPaths.open(await temporaryDirectory(t), writes)
  const [first, second] = [await paths.create('a'), await paths.create('b')]
  if (first === null || second === null) throw new Error('too many')
  const ended: string[] = []
  const release = paths.use(first.secret, () => { ended.push('over before') })
  paths.use(first.secret, () => { ended.push('a stream') })
  paths.use(first.secret, () => { ended.push('another') })
  paths.use(second.secret, () => { ended.push('of the other one') })
  release()
  await paths.revoke(first.path.id)
  t.same(ended, ['a stream', 'another'])
})

t.test('those that are revoked at the same time are gone after a restart, too', async (t) => {
  const directory = await temporaryDirectory(t)
  const paths = await SecretPaths.open(directory, writes)
  const made = await Promise.all(Array.from({ length: 50 }, async (_, i) => await paths.create(String(i))))
  t.equal((await SecretPaths.open(directory, writes)).list().length, 50)
  await Promise.all(made.map(async (each) => await paths.revoke(each?.path.id ?? '')))
  t.same((await SecretPaths.open(directory, writes)).list(), [])
})

t.test('a server that only reads takes over what the other one does', async (t) => {
  const directory = await temporaryDirectory(t)
  const writer = await SecretPaths.open(directory, writes)
  const reader = await SecretPaths.open(directory, { isReadOnly: true, log: silent })
  const made = await writer.create('a')
  if (made === null) throw new Error('too many')
  await until('it is there, too', async () => await reader.has(made.secret))
  await writer.revoke(made.path.id)
  await until('it is gone, too', async () => !await reader.has(made.secret))
})

t.test('a record that makes no sense opens nothing', async (t) => {
  for (const content of ['', '{', '[]', '{"version":1,"paths":7}', '{"version":1,"paths":[null,7,{},{"id":"x","name":"x","createdAt":"x","digest":"short"}]}']) {
    const directory = await temporaryDirectory(t)
    await (await SecretPaths.open(directory, writes)).create('a')
    await writeFile(join(directory, '.self-streme', 'secret-paths.json'), content)
    t.same((await SecretPaths.open(directory, writes)).list(), [], content)
  }
})

t.test('the secret is taken off the address, whatever stands behind it', async (t) => {
  for (const [url, secret, rest] of [
    ['/t/abc/stream/proxy/x?fileIndex=1', 'abc', '/stream/proxy/x?fileIndex=1'],
    ['/t/abc/', 'abc', '/'],
    ['/t/abc', 'abc', '/'],
    ['/t/abc?x=y', 'abc', '/?x=y'],
    ['/t/abc//x', 'abc', '//x'],
    ['/t/abc/t/def/x', 'abc', '/t/def/x'],
    ['/t/%41bc/x', '%41bc', '/x']
  ] as const) t.same(splitSecret(url), { secret, url: rest }, url)
  for (const url of ['/', '/t', '/t/', '/t//x', '/tt/abc/x', '/x/t/abc/', 't/abc/', '']) t.equal(splitSecret(url), null, url)
})
