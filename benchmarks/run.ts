// Runs benchmarks one after the other, each in a process of its own: all of them, and writes what they say into
// README.md; or those that are named. node benchmarks/run.ts [NAME…]
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { availableParallelism, loadavg, totalmem } from 'node:os'
import { join } from 'node:path'

const benchmarks = ['cached-stream', 'splice', 'random-ranges', 'cache-lookup', 'start', 'load', 'partial-store', 'http-download', 'api-load', 'p2p']

const named = process.argv.slice(2)
const unknown = named.filter(name => !benchmarks.includes(name))
if (unknown.length > 0) throw new Error(`no benchmark ${unknown.join(', ')}; there are ${benchmarks.join(', ')}`)

const machine = `${process.platform} ${process.arch}, ${availableParallelism()} cores, ${Math.round(totalmem() / 2 ** 30)} GiB of memory, Node.js ${process.versions.node}`
const sections = []
for (const name of named.length > 0 ? named : benchmarks) {
  console.log(`## ${name}\n`)
  const output = await outputOf(name)
  if (output === null) process.exitCode = 1
  else sections.push(`## ${name}\n\n${output}\n`)
}
if (named.length === 0 && process.exitCode !== 1) {
  await writeFile(join(import.meta.dirname, 'README.md'), `# Benchmarks

Written by \`npm run bench\`; \`npm run bench -- NAME\` runs one and writes nothing. Servers and readers are asked in turn, in
the same minutes on the same machine, so that whatever else it does meets all of them: the ratios tell, not the figures.

Machine: ${machine}.

${sections.join('\n')}`)
}

/** What the benchmark prints, which is shown as it comes; null when it fails. */
async function outputOf (name: string): Promise<string | null> {
  const child = spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`)], { stdio: ['ignore', 'pipe', 'inherit'] })
  const before = loadAverage()
  let output = ''
  child.stdout.setEncoding('utf8').on('data', text => {
    output += text
    process.stdout.write(text)
  })
  const [code] = await once(child, 'close')
  const load = `Load average, of this and of whatever else ran: ${before} before, ${loadAverage()} after.`
  console.log(`${load}\n`)
  return code === 0 ? `${output.trim()}\n\n${load}` : null
}

/** Of the last minute. */
function loadAverage (): string {
  return (loadavg()[0] ?? NaN).toFixed(1)
}
