import t from 'tap'
import { pathMatcher } from '../../../services/http/path-matcher.ts'

t.test('a path matches a pattern as the router reads it', async (t) => {
  for (const [pattern, path, isMatch] of [
    ['/', '/', true],
    ['/health', '/health', true],
    ['/health', '/healthy', false],
    ['/openapi.json', '/openapixjson', false],
    ['/api/torrents/:infoHash', '/api/torrents/abc', true],
    ['/api/torrents/:infoHash', '/api/torrents/abc/files', false],
    ['/api/torrents/:infoHash', '/api/torrents/', false],
    ['/api/torrents/:infoHash/files', '/api/torrents/a%2Fb/files', true],
    ['/assets/*', '/assets/a/b.js', true],
    ['/:hash(^[0-9a-f]{4}$)/:idx', '/beef/0', true],
    ['/:hash(^[0-9a-f]{4}$)/:idx', '/beefy/0', false],
    ['/:resource(^(?:meta|stream)$)/:type/:id.json', '/stream/movie/tt1.json', true],
    ['/:resource(^(?:meta|stream)$)/:type/:id.json', '/streams/movie/tt1.json', false]
  ] as const) t.equal(pathMatcher(pattern)(path), isMatch, `${pattern} ${path}`)
})
