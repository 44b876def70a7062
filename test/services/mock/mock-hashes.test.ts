import t from 'tap'

import { isMockHash, mockHashes } from '../../../services/mock/mock-hashes.ts'

t.test('the documents\' own test hash is known', async t => {
  t.ok(isMockHash('39730aa7c09b864432bc8c878c20c933059241fd'))
})

t.test('every test hash is an infohash in lower case', async t => {
  for (const hash of mockHashes) t.match(hash, /^[0-9a-f]{40}$/)
})

t.test('a hash that is not in the list is none', async t => {
  t.notOk(isMockHash('dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c'))
  t.notOk(isMockHash(''))
})
