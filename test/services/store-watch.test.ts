import { chmod, mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { StoreWatch } from '../../services/store-watch.ts'
import { temporaryDirectory } from '../testnet.ts'

t.test('a download directory that can be read and written is well', async (t) => {
  const directory = await temporaryDirectory(t)
  await writeFile(join(directory, 'film.mp4'), 'x')
  t.same(await new StoreWatch({ directory, isReadOnly: false }).check(), { isDead: false, problem: null })
})

t.test('one that is gone is dead, and alive when it is back', async (t) => {
  const directory = join(await temporaryDirectory(t), 'cache')
  const watch = new StoreWatch({ directory, isReadOnly: false })
  t.same(await watch.check(), { isDead: true, problem: 'store: the download directory cannot be read (ENOENT)' })
  await mkdir(directory)
  t.same(await watch.check(), { isDead: false, problem: null })
  await rm(directory, { recursive: true })
  t.equal((await watch.check()).isDead, true)
})

t.test('one that cannot be written any more is not dead', { skip: process.getuid?.() === 0 ? 'root may write anywhere' : false }, async (t) => {
  const directory = await temporaryDirectory(t)
  await chmod(directory, 0o500)
  t.same(await new StoreWatch({ directory, isReadOnly: false }).check(), { isDead: false, problem: 'store: the download directory cannot be written (EACCES)' })
})

t.test('nor is one on a disk that was mounted read-only', async (t) => {
  const look = async (_directory: string, mode: string): Promise<void> => { if (mode === 'write') throw Object.assign(new Error('no'), { code: 'EROFS' }) }
  t.same(await new StoreWatch({ directory: '/x', isReadOnly: false, look }).check(), { isDead: false, problem: 'store: the download directory cannot be written (EROFS)' })
})

t.test('a disk that does not answer is dead after its limit; it is not asked a second time meanwhile, and alive when it answers', async (t) => {
  const { promise, resolve } = Promise.withResolvers<void>()
  let looks = 0
  const watch = new StoreWatch({ directory: '/x', isReadOnly: false, limitMs: 20, look: async () => { looks++; await promise } })
  t.same(await watch.check(), { isDead: true, problem: 'store: the download directory has not answered for 20 ms' })
  t.equal((await watch.check()).isDead, true)
  t.equal(looks, 1)
  resolve()
  t.equal((await watch.check()).isDead, false)
})

t.test('a server that writes nothing does not ask', async (t) => {
  t.same(await new StoreWatch({ directory: '/no/such', isReadOnly: true }).check(), { isDead: false, problem: null })
})

t.test('closing ends a look that hangs', async (t) => {
  const watch = new StoreWatch({ directory: '/x', isReadOnly: false, limitMs: 60_000, look: async () => { await new Promise(() => {}) } })
  watch.start()
  const look = watch.check()
  watch.close()
  t.same(await look, { isDead: false, problem: null })
})
