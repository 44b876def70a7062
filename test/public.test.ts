import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'

const folder = new URL('../public/', import.meta.url)
const names = readdirSync(folder)
const scripts = names.filter((name) => name.endsWith('.js'))
const read = (name: string): string => readFileSync(new URL(name, folder), 'utf8')

async function textsOf (name: string): Promise<Record<string, string>> {
  const { default: texts }: { default: Record<string, string> } = await import(new URL(name, folder).href)
  return texts
}

const placeholders = (text: string): string[] => [...text.matchAll(/\{\w+\}/g)].map(([found]) => found).sort()

t.test('the page works under the strictest content security policy', async (t) => {
  const html = read('index.html')
  t.notMatch(html, /<script(?![^>]*\ssrc=)/, 'no inline script')
  t.notMatch(html, /<style|\sstyle=|\son[a-z]+=|javascript:/i, 'no inline style, no inline handler')
  for (const name of names) t.notMatch(read(name), /(?:src|href|url|import|fetch)\s*[=(]?\s*["'`(]\s*(?:https?:)?\/\//, `${name} loads nothing from elsewhere`)
  for (const name of scripts) {
    t.notMatch(read(name), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/, `${name}: what comes from the network is never markup`)
  }
})

t.test('the page works behind a path prefix: every address in it is relative', async (t) => {
  const addresses = [...read('index.html').matchAll(/\s(?:src|href)="([^"#][^"]*)"/g)].map(([, address = '']) => address)
  t.ok(addresses.length >= 3)
  for (const address of addresses) {
    t.notMatch(address, /^\/|:/)
    const [, asset] = /^assets\/(.+)$/.exec(address) ?? []
    if (asset !== undefined) t.ok(names.includes(asset), `${asset} is there`)
  }
  for (const name of scripts) t.notMatch(read(name), /(?:fetch|call|address)\(["'`]\//, `${name} asks below the page's own path`)
})

t.test('every text is there in each language, with the same blanks to fill', async (t) => {
  const english = await textsOf('texts-en.js')
  const hebrew = await textsOf('texts-he.js')
  t.same(Object.keys(hebrew).sort(), Object.keys(english).sort())
  for (const [key, text] of Object.entries(english)) t.same(placeholders(hebrew[key] ?? ''), placeholders(text), key)
  const asked = [...names.map(read).join('\n').matchAll(/data-t(?:-label|-placeholder)?="([^"]+)"/g)].map(([, key = '']) => key)
  t.same(asked.filter((key) => english[key] === undefined), [], 'what the page asks for is there')
})

t.test('the page is small', async (t) => {
  t.ok(names.reduce((sum, name) => sum + Buffer.byteLength(read(name)), 0) < 80_000)
})
