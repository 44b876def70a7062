import { readFile } from 'node:fs/promises'
import t from 'tap'
import { deadlines } from '../../services/deadlines.ts'

t.test('the documents name every deadline of the table, with its value, and none that is not there', async (t) => {
  const text = await readFile(new URL('../../docs/architecture.md', import.meta.url), 'utf8')
  const [, table = ''] = /## Time\n([\s\S]*?)\n## /.exec(text) ?? []
  const named = [...table.matchAll(/`(\w+(?:Ms|Turns))`/g)].map(([, name]) => name)
  t.strictSame([...new Set(named)].sort(), Object.keys(deadlines).sort())
  for (const [name, ms] of Object.entries(deadlines).filter(([name]) => name.endsWith('Ms'))) {
    const row = table.split('\n').find((line) => line.includes(`\`${name}\``)) ?? ''
    t.match(row, `${ms / 1000} s`, `${name} is ${ms / 1000} s`)
  }
})
