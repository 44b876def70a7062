import t from 'tap'

import { corsHeaders, preflightHeaders } from '../../../services/http/cors.ts'

t.test('a page of any origin can play, and read what the answer says about itself', async t => {
  t.equal(corsHeaders['Access-Control-Allow-Origin'], '*')
  t.equal(corsHeaders['Timing-Allow-Origin'], '*')
  t.same(corsHeaders['Access-Control-Expose-Headers'].split(', ').sort(), [
    'Accept-Ranges', 'Content-Length', 'Content-Range', 'Content-Type', 'ETag', 'Server-Timing', 'X-Stream-Source', 'X-Stream-Verified'
  ])
})

t.test('a preflight allows reading, with ranges and conditions', async t => {
  t.same(preflightHeaders({}), {
    ...corsHeaders,
    'Access-Control-Allow-Methods': 'GET, HEAD, OPTIONS',
    'Access-Control-Allow-Headers': 'Range, If-Range, If-None-Match, If-Match, Content-Type, Authorization',
    'Access-Control-Max-Age': '86400'
  })
})

t.test('the private network is opened only to a preflight that asks', async t => {
  const name = 'Access-Control-Allow-Private-Network'
  t.equal(preflightHeaders({ 'access-control-request-private-network': 'true' })[name], 'true')
  for (const value of ['false', '', '1']) t.equal(preflightHeaders({ 'access-control-request-private-network': value })[name], undefined, value)
  t.notOk(name in corsHeaders)
})
