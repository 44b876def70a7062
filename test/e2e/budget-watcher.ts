import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { parentPort, workerData } from 'node:worker_threads'

/** The most that a directory took while it was looked at, as a panel and as `du` count it. */
export interface Most {
  apparent: number
  allocated: number
  samples: number
}

function measure (directory: string): { apparent: number, allocated: number } {
  const total = { apparent: 0, allocated: 0 }
  for (const entry of names(directory)) {
    const path = join(directory, entry.name)
    const { apparent, allocated } = entry.isDirectory() ? measure(path) : look(path)
    total.apparent += apparent
    total.allocated += allocated
  }
  return total
}

function names (directory: string): Array<{ readonly name: string, isDirectory (): boolean }> {
  try {
    return readdirSync(directory, { withFileTypes: true })
  } catch {
    // It has just been removed.
    return []
  }
}

function look (path: string): { apparent: number, allocated: number } {
  const stats = lstatSync(path, { throwIfNoEntry: false })
  return { apparent: stats?.size ?? 0, allocated: (stats?.blocks ?? 0) * 512 }
}

if (parentPort !== null && typeof workerData === 'string') {
  const directory = workerData
  const port = parentPort
  const most: Most = { apparent: 0, allocated: 0, samples: 0 }
  const timer = setInterval(() => {
    const { apparent, allocated } = measure(directory)
    most.apparent = Math.max(most.apparent, apparent)
    most.allocated = Math.max(most.allocated, allocated)
    most.samples++
  }, 1)
  port.once('message', () => {
    clearInterval(timer)
    port.postMessage(most)
  })
  port.postMessage('ready')
}
