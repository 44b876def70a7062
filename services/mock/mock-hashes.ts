/**
 * The test hashes that are answered with the mock video, so that a player, an addon or a page can be tried without any
 * torrent. They never reach the network. All but the first are visibly made up, and no torrent has been seen under them.
 */
export const mockHashes: ReadonlySet<string> = new Set([
  // The documents' own example. A cached file for it wins over the mock.
  '39730aa7c09b864432bc8c878c20c933059241fd',
  '0000000000000000000000000000000000000000',
  '1111111111111111111111111111111111111111',
  'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa',
  'ffffffffffffffffffffffffffffffffffffffff',
  '0123456789abcdef0123456789abcdef01234567',
  'deadbeefdeadbeefdeadbeefdeadbeefdeadbeef'
])

/** This infohash (lower case) is answered with the mock video. */
export function isMockHash (infohash: string): boolean {
  return mockHashes.has(infohash)
}
