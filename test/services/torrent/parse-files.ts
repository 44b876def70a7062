// Parses the .torrent files of a directory one after the other, in a process of its own; prints what came of each, the
// processor time it took in milliseconds, and the memory of the process at its most.
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseMetadata } from '../../../services/torrent/metadata.ts'
import { codeOf } from './oracles.ts'

const [directory = '.'] = process.argv.slice(2)
const outcomes = readdirSync(directory).map((name) => {
  globalThis.gc?.() // or it is the sum of what all left behind
  const bytes = readFileSync(join(directory, name))
  const before = process.cpuUsage()
  const outcome = codeOf(() => parseMetadata(bytes))
  const { user, system } = process.cpuUsage(before)
  return { name, outcome, ms: Math.round((user + system) / 1000) }
})
console.log(JSON.stringify({ outcomes, maxRssMb: Math.round(process.resourceUsage().maxRSS / 1024) }))
