import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { basename } from 'node:path'

/** Runs every benchmark one after the other, each in a process of its own. */
const files = readdirSync(import.meta.dirname).filter((name) => name.endsWith('.ts') && name !== basename(import.meta.filename))
for (const name of files.sort()) {
  console.log(`\n# ${name}`)
  const { status } = spawnSync(process.execPath, [`${import.meta.dirname}/${name}`, ...process.argv.slice(2)], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
