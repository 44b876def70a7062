import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'

const folder = new URL('../public/', import.meta.url)
const names = readdirSync(folder)
const read = (name: string): string => readFileSync(new URL(name, folder), 'utf8')

t.test('the page works under the strictest content security policy', async t => {
  const html = read('index.html')
  t.notMatch(html, /<script(?![^>]*\ssrc=)/, 'no inline script')
  t.notMatch(html, /<style|\sstyle=|\son[a-z]+=|javascript:/i, 'no inline style, no inline handler')
  for (const name of names) t.notMatch(read(name).replace('http://www.w3.org/2000/svg', ''), /(?:src|href|url|import|fetch)\s*[=(]?\s*["'`(]\s*(?:https?:)?\/\//, `${name} loads nothing from elsewhere`)
  t.notMatch(read('app.js'), /innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function/, 'what comes from the network is never markup')
})

t.test('the page works behind a path prefix: every address in it is relative', async t => {
  const addresses = [...read('index.html').matchAll(/\s(?:src|href)="([^"]*)"/g)].map(([, address = '']) => address)
  t.ok(addresses.length >= 3)
  for (const address of addresses) {
    t.notMatch(address, /^\/|:/)
    const [, asset] = /^assets\/(.+)$/.exec(address) ?? []
    if (asset !== undefined) t.ok(names.includes(asset), `${asset} is there`)
  }
  t.notMatch(read('app.js'), /fetch\(["'`]\//)
})

t.test('the page is small', async t => {
  t.ok(names.reduce((sum, name) => sum + Buffer.byteLength(read(name)), 0) < 15_000)
})
