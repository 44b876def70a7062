// Runs the tests that take their counts from the environment with as much as they are worth, and prints their figures.
// A count that is set already wins: SOAK_KILLS=1000 npm run soak; SOAK_SEED repeats a run. Files named behind it run alone.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { glob, readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { createInterface } from 'node:readline'

const root = join(import.meta.dirname, '..')
const full = { SOAK_KILLS: '200', SOAK_CHAOS_SECONDS: '900', SOAK_ABORTS: '20000', SOAK_POWER_LIVES: '100', SOAK_SPLICES: '30000', SOAK_FAILOVERS: '34', SOAK_FAILOVER_BYTES: '200000000', SOAK_FLAPS: '100', SOAK_TORRENTS: '10000', SOAK_MEMORY_SECONDS: '600', SOAK_SWARM_DEATHS: '10', SOAK_STORM_SECONDS: '120', SOAK_CROWD: '200', SOAK_DEAD: '200', SOAK_PANEL_SECONDS: '3600', SOAK_SLOW_READERS: '200', SOAK_FUZZ: '3000', TAP_TIMEOUT: '86400' }

const named = process.argv.slice(2)
const files = named.length > 0 ? named : await longTests()
const rows: string[][] = []
for (const file of files) {
  console.log(`\n${file}`)
  const { code, figures, seconds } = await run(file)
  rows.push([file, code === 0 ? 'passed' : 'FAILED', `${seconds} s`], ...figures.map(([name, value]) => ['', name, value]))
  if (code !== 0) process.exitCode = 1
}
printTable(rows)

/** The tests that say how much they do by means of test/soak.ts. */
async function longTests (): Promise<string[]> {
  const found: string[] = []
  for await (const path of glob(join(root, 'test', '**', '*.test.ts'))) {
    if (/from '[./]+\/soak\.ts'/.test(await readFile(path, 'utf8'))) found.push(relative(root, path))
  }
  return found.sort()
}

/** Runs a test file to its end; shows its notes and what failed, and gathers its figures. */
async function run (file: string): Promise<{ code: number | null, figures: Array<[name: string, value: string]>, seconds: number }> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, [file], { cwd: root, env: { ...full, ...process.env }, stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = once(child, 'close')
  const figures: Array<[name: string, value: string]> = []
  let isExplaining = false
  for await (const line of createInterface({ input: child.stdout })) {
    const [, name, value] = /^\s*# figure: (.+?) = (.*)$/.exec(line) ?? []
    if (name !== undefined && value !== undefined) figures.push([name, value])
    // What follows a failure, up to the end of its YAML block, says why.
    if (/^\s*not ok /.test(line)) isExplaining = true
    if (isExplaining || /^\s*# /.test(line)) console.log(line)
    if (/^\s*\.\.\.$/.test(line)) isExplaining = false
  }
  await ended
  return { code: child.exitCode, figures, seconds: Math.round((performance.now() - startedAt) / 1000) }
}

function printTable (rows: readonly string[][]): void {
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  console.log()
  for (const row of rows) console.log(row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ').trimEnd())
}
