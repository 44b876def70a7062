import t from 'tap'
import { memoryBudget, memoryLimits } from '../../services/memory-budget.ts'
import type { MemoryLimits } from '../../services/memory-budget.ts'

const gigabyte = 1_000_000_000
const machine: MemoryLimits = { serverMemory: undefined, constrainedBytes: 0, machineBytes: 24 * gigabyte }

t.test('the least of the limits holds', async (t) => {
  const total = (limits: Partial<MemoryLimits>): number => memoryBudget({ ...machine, ...limits }).totalBytes
  t.equal(total({}), 24 * gigabyte)
  t.equal(total({ serverMemory: '512' }), 512_000_000)
  t.equal(total({ serverMemory: '512', constrainedBytes: 400_000_000 }), 400_000_000)
  t.equal(total({ serverMemory: '2048', constrainedBytes: gigabyte }), gigabyte)
  t.equal(total({ serverMemory: '999999' }), 24 * gigabyte, 'no more than the machine has')
})

t.test('no limit is none: 0 of a panel, 0 or an absurd number of the system, nonsense', async (t) => {
  for (const serverMemory of ['0', '', ' ', 'lots', '-1']) t.equal(memoryBudget({ ...machine, serverMemory }).totalBytes, 24 * gigabyte, JSON.stringify(serverMemory))
  t.equal(memoryBudget({ ...machine, constrainedBytes: 2 ** 64 }).totalBytes, 24 * gigabyte)
})

t.test('this machine has a limit, and SERVER_MEMORY is read', async (t) => {
  t.ok(memoryBudget(memoryLimits({})).totalBytes > 0)
  t.equal(memoryBudget(memoryLimits({ SERVER_MEMORY: '300' })).totalBytes, 300_000_000)
})

t.test('512 MB hold two processes and a piece of 32 MiB in each', async (t) => {
  const { serverHeapMb, swarmHeapMb, piecesInFlightBytes, downloadBytes, readerBytes } = memoryBudget({ ...machine, serverMemory: '512' })
  const piece = 32 * 1024 * 1024
  // 75 and 90 MB idle; a piece of 32 MiB costs 76 MB when it is complete.
  const pieces = Math.max(piece, piecesInFlightBytes) / piece * 76_000_000 + Math.max(piece, downloadBytes) * 2 + readerBytes
  t.ok(75_000_000 + 90_000_000 + pieces < 512_000_000, `${Math.round(pieces / 1e6)} MB for pieces`)
  t.ok(serverHeapMb + swarmHeapMb < 512 / 2, 'the heaps take less than half')
})

t.test('more memory never means less of anything, and there is always enough to go on', async (t) => {
  let before = memoryBudget({ ...machine, serverMemory: '1' })
  for (let mb = 64; mb < 16_384; mb *= 2) {
    const budget = memoryBudget({ ...machine, serverMemory: String(mb) })
    t.ok(budget.piecesInFlightBytes >= before.piecesInFlightBytes && budget.downloadBytes >= before.downloadBytes && budget.readerBytes >= before.readerBytes, `${mb} MB: pieces`)
    t.ok(budget.serverHeapMb >= before.serverHeapMb && budget.swarmHeapMb >= 96, `${mb} MB: heaps`)
    before = budget
  }
})
