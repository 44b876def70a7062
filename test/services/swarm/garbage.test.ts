import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t from 'tap'
import type { Test } from 'tap'

const source = new URL('../../../services/swarm/garbage.ts', import.meta.url).href

/** A process with a heap of so many MiB that is given 4 GiB of buffers, of which it keeps 8 MiB: how it fared. */
async function churn (t: Test, heapMb: number, isTold: boolean): Promise<{ isOn: boolean, collections: number, mostMb: number }> {
  const script = `
    import { PerformanceObserver, constants } from 'node:perf_hooks'
    import { collectBuffersWithHeap } from ${JSON.stringify(source)}
    const isOn = ${isTold} && collectBuffersWithHeap()
    let collections = 0
    new PerformanceObserver((list) => { collections += list.getEntries().filter(({ detail }) => detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR).length }).observe({ entryTypes: ['gc'] })
    const kept = []
    let most = 0
    for (let i = 0; i < 4096; i++) {
      for (let j = 0; j < 16; j++) kept[(i * 16 + j) % 128] = Buffer.allocUnsafe(65536)
      most = Math.max(most, process.memoryUsage().arrayBuffers)
      await new Promise(resolve => setImmediate(resolve))
    }
    setTimeout(() => { console.log(JSON.stringify({ isOn, collections, mostMb: most / 1048576 })) }, 20)
  `
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [`--max-old-space-size=${heapMb}`, '--input-type=module-typescript', '--no-warnings', '--eval', script], { env: { PATH: process.env['PATH'] } })
  t.equal(stderr, '', 'V8 knows the flag')
  return JSON.parse(stdout)
}

// How many fewer they are depends on the machine's pace: benchmarks/ has what it saves.
t.test('buffers that come and go stay below twice the heap where they are collected with it', async (t) => {
  const [by, told] = [await churn(t, 256, false), await churn(t, 256, true)]
  t.ok(told.isOn)
  t.comment(`${told.collections} collections, by itself ${by.collections}`)
  t.ok(told.mostMb < 512, `${told.mostMb} MiB`)
})

t.test('a process with a small heap is left as it is', async (t) => {
  t.notOk((await churn(t, 96, true)).isOn)
})
