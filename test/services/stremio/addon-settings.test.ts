import { randomBytes } from 'node:crypto'
import t from 'tap'
import { SettingsSeal, manifestUrl, sealedForm } from '../../../services/stremio/addon-settings.ts'

const upstreams = ['https://addon.example/key-of-somebody/manifest.json']

t.test('settings come back as they were sealed, and nobody reads or makes them', async (t) => {
  const key = randomBytes(32)
  const seal = new SettingsSeal(key)
  const text = seal.seal({ upstreams, hasCatalogs: false }) ?? ''
  t.match(text, new RegExp(sealedForm))
  t.notMatch(Buffer.from(text.slice(4), 'base64url').toString('latin1'), /addon\.example|key-of-somebody/)
  t.same(seal.open(text), { upstreams, hasCatalogs: false })
  t.same(new SettingsSeal(key).open(text), { upstreams, hasCatalogs: false }, 'after a restart, too')
  t.not(seal.seal({ upstreams, hasCatalogs: false }), text, 'never the same twice')
  t.equal(new SettingsSeal(randomBytes(32)).open(text), null)
  for (let i = 4; i < text.length - 1; i++) t.equal(seal.open(text.slice(0, i) + (text[i] === 'A' ? 'B' : 'A') + text.slice(i + 1)), null)
  for (const wrong of ['', 'cfg-', text.slice(0, -4), text.slice(4), `cfg-${'A'.repeat(100)}`, `cfg-${'A'.repeat(5000)}`]) t.equal(seal.open(wrong), null)
})

t.test('what is too long for an address is not made', async (t) => {
  const seal = new SettingsSeal(randomBytes(32))
  t.equal(seal.seal({ upstreams: Array.from({ length: 20 }, () => `https://addon.example/${randomBytes(200).toString('hex')}/manifest.json`), hasCatalogs: true }), null)
  t.match(seal.seal({ upstreams: Array.from({ length: 10 }, (_, i) => `https://addon${i}.example/manifest.json`), hasCatalogs: true }), /^cfg-/)
})

t.test('an address of a manifest is taken as people copy it', async (t) => {
  for (const [text, expected] of [
    [' https://addon.example/manifest.json ', 'https://addon.example/manifest.json'],
    ['stremio://addon.example/cfg/manifest.json', 'https://addon.example/cfg/manifest.json'],
    ['https://addon.example/a=b|c/configure', 'https://addon.example/a=b|c/manifest.json'],
    ['https://addon.example/', null], ['file:///etc/manifest.json', null], ['javascript:/manifest.json', null], ['', null]
  ] as const) t.equal(manifestUrl(text), expected, text)
})
