import t from 'tap'
import { isForProxy, sendfileHeader } from '../../../services/http/sendfile.ts'

const directory = '/srv/cache'

t.test('nginx is told where the file is below the download directory, in characters that a URI may have', async (t) => {
  const cases = [
    ['/srv/cache/film.mp4', '/_self-streme/film.mp4'],
    ['/srv/cache/a folder/100% über?#.mkv', '/_self-streme/a%20folder/100%25%20%C3%BCber%3F%23.mkv'],
    ['/srv/cache/..film.mp4', '/_self-streme/..film.mp4']
  ] as const
  for (const [path, uri] of cases) t.same(sendfileHeader(path, { header: 'x-accel-redirect', directory }), { 'X-Accel-Redirect': uri })
})

t.test('what is not in there it cannot have', async (t) => {
  for (const path of ['/srv/other/film.mp4', '/srv/cache', '/srv/cache-2/film.mp4', '/srv', '/etc/passwd']) t.equal(sendfileHeader(path, { header: 'x-accel-redirect', directory }), null, path)
})

t.test('Apache and lighttpd are told the path', async (t) => {
  t.same(sendfileHeader('/srv/other/a film\r\n.mp4', { header: 'x-sendfile', directory }), { 'X-Sendfile': '/srv/other/a%20film%0D%0A.mp4' })
})

t.test('requests with conditions are not for the proxy, which does not know our validators', async (t) => {
  t.ok(isForProxy({ range: 'bytes=0-' }))
  for (const name of ['if-match', 'if-none-match', 'if-modified-since', 'if-unmodified-since', 'if-range']) t.notOk(isForProxy({ [name]: '"x"' }), name)
})
