import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import t from 'tap'
import { startLoad } from '../../load-clients.ts'
import { startServer } from '../../server-process.ts'
import { amount, tellFigure } from '../../soak.ts'
import { temporaryDirectory, testBytes, until } from '../../testnet.ts'

const IDLE = amount('SOAK_LOAD_IDLE', 200)
const ACTIVE = amount('SOAK_LOAD_ACTIVE', 40)
const SECONDS = amount('SOAK_LOAD_SECONDS', 5)
const BYTES_PER_SECOND = 625_000
const infohash = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'

t.test(`${IDLE} paused and ${ACTIVE} active players of 5 Mbit/s for ${SECONDS} s -> each gets every byte, none is cut, memory is bounded`, { timeout: 60_000 + SECONDS * 2000 }, async (t) => {
  const directory = await temporaryDirectory(t)
  const content = testBytes(60_000_000, 'load')
  await mkdir(join(directory, 'cache'))
  await writeFile(join(directory, 'cache', `${infohash}.mkv`), content)
  const { pid, url } = await startServer(t, { LOG_LEVEL: 'warn' }, directory)
  const memoryMb = async (): Promise<number> => {
    const [, kilobytes = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
    return Math.round(Number(kilobytes) / 1000)
  }
  await (await fetch(`${url}/stream/proxy/${infohash}`)).arrayBuffer()
  const before = await memoryMb()
  const load = await startLoad({ url: `${url}/stream/proxy/${infohash}`, content, idle: IDLE, active: ACTIVE, bytesPerSecond: BYTES_PER_SECOND })
  t.teardown(() => { load.stop() })
  let most = 0
  const health: number[] = []
  for (const end = performance.now() + SECONDS * 1000; performance.now() < end; await wait(50)) {
    const askedAt = performance.now()
    if ((await fetch(`${url}/health`)).status !== 200) t.fail('/health')
    health.push(performance.now() - askedAt)
    most = Math.max(most, await memoryMb())
  }
  const share = load.worstShare()
  const buffersMb = await bufferMb(url)
  t.same(load.errors, [])
  t.ok(load.receivedBytes() > ACTIVE * BYTES_PER_SECOND, `${load.receivedBytes()} bytes were compared`)
  load.stop()
  await until('all streams have ended', async () => /^self_streme_streams_open\{source="cache"\} 0$/m.test(await (await fetch(`${url}/metrics`)).text()))
  tellFigure(t, `load: ${IDLE} idle and ${ACTIVE} active`, `the slowest player had ${(share * 100).toFixed(0)} % of its rate; ${before} MB before, ${most} MB at most, ${buffersMb} MB of buffers; /health ${Math.round(health.sort((a, b) => a - b)[Math.floor(health.length / 2)] ?? NaN)} ms at the median`)
  t.ok(most < before + 200 + (IDLE + ACTIVE) * 0.4, `${most} MB`)
  // With 1 MiB for each player it would be 250 MB.
  t.ok(buffersMb < 210, `${buffersMb} MB of buffers`)
})

async function bufferMb (url: string): Promise<number> {
  const [, bytes = ''] = /^nodejs_external_memory_bytes (\S+)$/m.exec(await (await fetch(`${url}/metrics`)).text()) ?? []
  return Math.round(Number(bytes) / 1e6)
}
