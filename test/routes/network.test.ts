import t from 'tap'
import { jsonFrom, startApp } from '../helper.ts'
import { until } from '../testnet.ts'

t.test('P2P is switched off -> the report says so, and by which setting', async (t) => {
  for (const env of [{ ENABLE_P2P: 'false' }, { ENABLE_P2P: 'true', CACHE_ONLY_MODE: 'true' }]) {
    const { url } = await startApp(t, env)
    const { status, headers, body } = await jsonFrom(`${url}/api/network`)
    const [setting] = Object.entries(env).at(-1) ?? []
    t.equal(status, 200)
    t.equal(headers.get('cache-control'), 'no-store')
    t.match(body, { success: true, data: { state: 'off', verdict: { kind: 'unknown', confidence: 'none' }, ports: { tcp: null }, publicEndpoint: null, mapping: null } })
    t.match(body.data.reason, String(setting))
    t.match(body.data.advice, String(setting))
  }
})

t.test('the swarm listens -> the report says where, and leaves nothing out that is known', async (t) => {
  const { app, url } = await startApp(t, { ENABLE_P2P: 'true' })
  const { data } = await until('the swarm is ready', async () => {
    const { body } = await jsonFrom(`${url}/api/network`)
    return body.data.state === 'ready' && body
  })
  t.equal(data.reason, '')
  t.ok(data.ports.tcp > 0)
  t.equal(data.hasUtp, data.ports.utp !== null)
  t.ok(data.ports.dht > 0)
  const { state, reason, ...shown } = (await jsonFrom(`${url}/api/network`)).body.data
  t.same(shown, JSON.parse(JSON.stringify(app.swarm?.network)))
})
