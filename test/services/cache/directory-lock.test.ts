import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Test } from 'tap'

import { DirectoryInUse, lockDirectory } from '../../../services/cache/directory-lock.ts'
import type { LockOptions } from '../../../services/cache/directory-lock.ts'

const module = fileURLToPath(new URL('../../../services/cache/directory-lock.ts', import.meta.url))

/** A process that takes the lock, says so, and lives until it is killed. */
async function holder (t: Test, directory: string, options: object): Promise<{ pid: number, kill: () => Promise<void> }> {
  const program = `import { lockDirectory } from ${JSON.stringify(module)}
    await lockDirectory(process.argv[1], JSON.parse(process.argv[2]))
    process.stdout.write('locked')
    setInterval(() => {}, 60_000)`
  const child = spawn(process.execPath, ['--input-type=module', '--eval', program, directory, JSON.stringify(options)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const kill = async (): Promise<void> => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  t.teardown(kill)
  await Promise.race([once(child.stdout, 'data'), once(child, 'exit').then(() => { throw new Error('it did not get the lock') })])
  return { pid: child.pid ?? 0, kill }
}

const recordOf = (directory: string, number = 1): string => join(directory, '.self-streme', `lock-${number}`)

/** A record as a process left it that is gone, with these differences. */
async function leaveRecord (directory: string, changes: object): Promise<void> {
  const lock = await lockDirectory(directory, { tryLock: null })
  const record: unknown = JSON.parse(await readFile(recordOf(directory), 'utf8'))
  await lock.release()
  await writeFile(recordOf(directory), JSON.stringify({ ...(typeof record === 'object' ? record : {}), isReleased: false, ...changes }))
}

const kinds: Array<[name: string, options: LockOptions]> = [
  ['with the native part', {}],
  ['without it', { tryLock: null }],
  ['on a file system without locks', { tryLock: () => { throw new Error('ENOLCK') } }]
]

for (const [kind, options] of kinds) {
  t.test(`${kind}: one at a time, and the next when it is released`, async t => {
    const directory = t.testdir()
    const first = await lockDirectory(directory, options)
    await t.rejects(lockDirectory(directory, options), { name: 'DirectoryInUse', message: `another Self-Streme (process ${process.pid}) uses the download directory ${directory}`, holder: { pid: process.pid } })
    await first.release()
    await first.release()
    const second = await lockDirectory(directory, options)
    await first.release()
    await t.rejects(lockDirectory(directory, options), DirectoryInUse, 'the first has nothing to release any more')
    await second.release()
  })

  t.test(`${kind}: of many that start at the same time one gets it`, async t => {
    const directory = t.testdir()
    const locks = await Promise.allSettled(Array.from({ length: 20 }, async () => await lockDirectory(directory, options)))
    t.equal(locks.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const lock of locks) if (lock.status === 'fulfilled') await lock.value.release()
  })
}

for (const options of [{}, { tryLock: null }]) {
  t.test(`after kill -9 the next has it at once (${JSON.stringify(options)})`, async t => {
    const directory = t.testdir()
    const { pid, kill } = await holder(t, directory, options)
    await t.rejects(lockDirectory(directory, options), { message: new RegExp(`process ${pid}\\)`) })
    await kill()
    const startedAt = performance.now()
    const lock = await lockDirectory(directory, options)
    t.ok(performance.now() - startedAt < 1000)
    await lock.release()
  })
}

const stale: Array<[why: string, changes: object]> = [
  ['its process is gone', { pid: 2 ** 22 + 1 }],
  ['its number is that of another process now', { pid: process.pid, startTime: '1' }],
  ['it is of another boot, or container, and its heart does not beat', { namespace: 'another' }]
]
for (const [why, changes] of stale) {
  t.test(`a record is stale when ${why}`, async t => {
    const directory = t.testdir()
    await leaveRecord(directory, changes)
    const lock = await lockDirectory(directory, { tryLock: null, heartbeatMs: 20 })
    await lock.release()
    t.same(await readdir(join(directory, '.self-streme')), ['lock-2'], 'one record stays')
  })
}

t.test('of many that find a stale record one gets the lock', async t => {
  const directory = t.testdir()
  for (let round = 0; round < 20; round++) {
    await rm(join(directory, '.self-streme'), { recursive: true, force: true })
    await leaveRecord(directory, { pid: 2 ** 22 + 1 })
    const locks = await Promise.allSettled(Array.from({ length: 20 }, async () => await lockDirectory(directory, { tryLock: null })))
    t.equal(locks.filter(({ status }) => status === 'fulfilled').length, 1)
    for (const lock of locks) if (lock.status === 'fulfilled') await lock.value.release()
  }
})

t.test('a process of another container that lives keeps the directory', async t => {
  const directory = t.testdir()
  const options = { tryLock: null, heartbeatMs: 20 }
  const lock = await lockDirectory(directory, options)
  const record: unknown = JSON.parse(await readFile(recordOf(directory), 'utf8'))
  await writeFile(recordOf(directory), JSON.stringify({ ...(typeof record === 'object' ? record : {}), namespace: 'another', pid: 1, hostname: 'elsewhere' }))
  await t.rejects(lockDirectory(directory, options), { message: /process 1 on elsewhere/ })
  await lock.release()
})

t.test('a record that is damaged keeps nobody out for long', async t => {
  const directory = t.testdir()
  await mkdir(join(directory, '.self-streme'))
  await writeFile(recordOf(directory), 'not a record')
  const lock = await lockDirectory(directory, { tryLock: null, heartbeatMs: 20 })
  await lock.release()
})
