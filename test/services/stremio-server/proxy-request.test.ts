import t from 'tap'
import { parseProxyRequest } from '../../../services/stremio-server/proxy-request.ts'

const options = (entries: Array<[string, string]>): string => new URLSearchParams(entries).toString()

t.test('where to, with which headers, and with which the answer goes back', async (t) => {
  const found = parseProxyRequest(`/proxy/${options([['d', 'https://cdn.example:8443'], ['h', 'User-Agent:Mozilla/5.0 (X11; Linux)'], ['h', 'Referer:https://site.example/a?b=c'], ['r', 'content-type:video/mp4']])}/a%20b/video.mp4?token=x%2By&e=1`)
  t.equal(found?.url.href, 'https://cdn.example:8443/a%20b/video.mp4?token=x%2By&e=1')
  t.same(found?.headers, { 'user-agent': 'Mozilla/5.0 (X11; Linux)', referer: 'https://site.example/a?b=c' })
  t.same(found?.answerHeaders, { 'content-type': 'video/mp4' })
})

t.test('headers that belong to the connection, or would let an answer act in a browser, are left out', async (t) => {
  const found = parseProxyRequest(`/proxy/${options([
    ['d', 'http://a.example'], ['h', 'Host:internal'], ['h', 'Content-Length:5'], ['h', 'X: y\r\nEvil: 1'], ['h', 'Transfer-Encoding:chunked'], ['h', 'X-Forwarded-For:1.2.3.4'],
    ['r', 'Set-Cookie:a=b'], ['r', 'Access-Control-Allow-Origin:*'], ['r', 'Content-Security-Policy:'], ['r', 'Location:https://evil.example'], ['r', 'Clear-Site-Data:"*"']
  ])}/`)
  t.same(found?.headers, {})
  t.same(found?.answerHeaders, {})
})

t.test('the path cannot change where it goes', async (t) => {
  t.equal(parseProxyRequest('/proxy/d=http%3A%2F%2Fa.example//evil.example/x')?.url.host, 'a.example')
  t.equal(parseProxyRequest('/proxy/d=http%3A%2F%2Fa.example@evil.example'), null, 'a name before the host')
  t.equal(parseProxyRequest('/proxy/d=http%3A%2F%2Fa.example/\\evil.example')?.url.host, 'a.example')
  for (const wrong of ['/proxy/', '/proxy/d=file%3A%2F%2F%2Fetc/passwd', '/proxy/http://a.example/', '/proxy/d=nonsense/x', '/proxy/d=http%3A%2F%2Fu%3Ap%40a.example/']) t.equal(parseProxyRequest(wrong), null, wrong)
})
