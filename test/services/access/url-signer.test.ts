import t from 'tap'
import { UrlSigner, queryOf, signatureOf } from '../../../services/access/url-signer.ts'

const [one, other] = ['a'.repeat(40), 'b'.repeat(40)]
const day = 86_400

t.test('a signed address opens one torrent, until it expires', async (t) => {
  let now = 1_000_000_000_000
  const signer = new UrlSigner('the key', () => now)
  const signature = signatureOf(`/stream/proxy/${one}?fileIndex=3&${signer.sign(one, { expires: 1_000_000_100 })}`)
  if (signature === null) throw new Error('it has none')
  t.equal(signer.check(one, signature, '1.2.3.4'), 'valid')
  t.equal(new UrlSigner('the key', () => now).check(one, signature, '9.9.9.9'), 'valid', 'by any server with the key, for any client')
  t.equal(signer.check(other, signature, '1.2.3.4'), 'wrong')
  t.equal(new UrlSigner('another key', () => now).check(one, signature, '1.2.3.4'), 'wrong')
  for (const changed of [{ expires: 1_000_000_101 }, { isBound: true }, { mac: `A${signature.mac.slice(1)}` }, { mac: '' }]) t.equal(signer.check(one, { ...signature, ...changed }, '1.2.3.4'), 'wrong', JSON.stringify(changed))
  t.equal(signer.secondsLeft(signature.expires), 100)
  now += 99_500
  t.equal(signer.check(one, signature, '1.2.3.4'), 'expired', 'in its last second nothing is begun')
  now += 1_000_000
  t.equal(signer.secondsLeft(signature.expires), 0)
})

t.test('one that is bound is for one client, of IPv6 for its network', async (t) => {
  const signer = new UrlSigner('the key')
  for (const [address, same, others] of [
    ['1.2.3.4', ['1.2.3.4', '::ffff:1.2.3.4'], ['1.2.3.5', '::1']],
    ['2001:db8:1:2::9', ['2001:db8:1:2::9', '2001:db8:1:2:aaaa::1'], ['2001:db8:1:3::9', '1.2.3.4']]
  ] as const) {
    const signature = signatureOf(`/?${signer.sign(one, { address })}`)
    if (signature === null) throw new Error('it has none')
    t.equal(signature.isBound, true)
    for (const client of same) t.equal(signer.check(one, signature, client), 'valid', client)
    for (const client of others) t.equal(signer.check(one, signature, client), 'wrong', client)
    t.equal(signer.check(one, { ...signature, isBound: false }, address), 'wrong', 'nobody else can free it')
  }
})

t.test('without a time of its own it counts for a day at least, and is the same for an hour', async (t) => {
  let now = 1_000_000_801_000
  const signer = new UrlSigner('the key', () => now)
  const first = signer.sign(one)
  const { expires = 0 } = signatureOf(`/?${first}`) ?? {}
  t.ok(expires - now / 1000 >= day && expires - now / 1000 <= day + 3600)
  now += 60_000
  t.equal(signer.sign(one), first)
  now += 3_600_000
  t.not(signer.sign(one), first)
})

t.test('what is in an address is read as it stands there, and nonsense is no signature', async (t) => {
  const query = new UrlSigner('the key').sign(one, { address: '1.2.3.4' })
  const signature = signatureOf(`/x?a=b&${query}#sig`.replace('#sig', '&c=d'))
  t.equal(signature === null ? '' : queryOf(signature), query)
  for (const url of ['', '/', '/?', '/?sig=', '/?sig=abc&exp=1', `/?sig=${'A'.repeat(43)}`, `/?sig=${'A'.repeat(43)}&exp=1e9`, `/?sig=${'A'.repeat(43)}&exp=-1`, `/sig=${'A'.repeat(43)}&exp=1`, `/?sig=${'%41'.repeat(42)}&exp=1`]) t.equal(signatureOf(url), null, url)
})
