import t from 'tap'
import { parseInfohash } from '../../../services/torrent/infohash.ts'
import { parseTorrent } from './oracles.ts'

const hex = 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'
const base32 = '3WBFL3G4PSSV7MF37AJSHWDQMLNR63I4'

t.test('takes 40 hex digits in either case', async t => {
  t.equal(parseInfohash(hex), hex)
  t.equal(parseInfohash(hex.toUpperCase()), hex)
  t.equal(parseInfohash('0'.repeat(40)), '0'.repeat(40))
})

t.test('takes 32 base32 characters in either case, as parse-torrent does', async t => {
  t.equal(parseInfohash(base32), hex)
  t.equal(parseInfohash(base32.toLowerCase()), hex)
  t.equal((await parseTorrent(`magnet:?xt=urn:btih:${base32}`)).infoHash, hex)
  t.equal(parseInfohash('A'.repeat(32)), '0'.repeat(40))
  t.equal(parseInfohash('7'.repeat(32)), 'f'.repeat(40))
})

t.test('anything else is no infohash', async t => {
  for (const text of ['', 'nonexistent123456789', hex.slice(1), `${hex}0`, ` ${hex}`, `${hex}\n`, hex.replace('d', 'g'), base32.slice(1),
    base32.replace('3', '1'), base32.replace('3', '8'), '0'.repeat(32), hex.replace('d', 'ď'), '/'.repeat(40), 'ſ'.repeat(32)]) {
    t.equal(parseInfohash(text), null, JSON.stringify(text))
  }
})
