import { execFile } from 'node:child_process'
import { access, readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { validate } from 'dockerfile-utils'
import t from 'tap'
import { parse } from 'yaml'
import { deadlines } from '../services/deadlines.ts'
import { readConfig } from '../services/config.ts'

const run = promisify(execFile)
const read = async (path: string): Promise<string> => await readFile(new URL(`../${path}`, import.meta.url), 'utf8')

t.test('a linter has nothing to say about the Dockerfile', async (t) => {
  const text = await read('Dockerfile')
  t.same(validate(text).map(({ message, range }) => `line ${range.start.line + 1}: ${message}`), [])
  t.not(validate('FROM node\nRUNN x\n').length, 0, 'it can tell')
})

t.test('the image runs as nobody special, ends on a signal, and asks its own port whether it is well', async (t) => {
  const text = await read('Dockerfile')
  const [, last = ''] = /(?:^|\n)(FROM(?![\s\S]*\nFROM)[\s\S]*)$/.exec(text) ?? []
  t.match(last, /\nUSER node\n/)
  t.match(last, /\nSTOPSIGNAL SIGTERM\n/)
  const [, healthcheck = '[]'] = /HEALTHCHECK .*CMD (\[.*\])/.exec(last) ?? []
  t.same(JSON.parse(healthcheck), ['node', 'scripts/health.ts'])
  const unasked = last.split('\n').filter((line) => !line.startsWith('RUN if [ -n "$FFMPEG" ]; then '))
  t.notMatch(unasked.join('\n'), /curl|wget|apt-get/, 'the small image stays small')
  t.match(last, /\nARG FFMPEG=""\n/)
  for (const [, path = ''] of text.matchAll(/^COPY (?:--\S+ )*(?:package.json )?(\S+) /gm)) {
    if (path.startsWith('/') || path === '.') continue
    await t.resolves(access(new URL(`../${path}`, import.meta.url)), path)
  }
})

t.test('what the image copies is all that the server runs from', async (t) => {
  const allowed = (await read('.dockerignore')).split('\n').filter((line) => line.startsWith('!')).map((line) => line.slice(1))
  for (const path of allowed) await t.resolves(access(new URL(`../${path}`, import.meta.url)), path)
  const main = ['app.ts', 'server.ts', 'index.js', 'package.json', 'package-lock.json', 'services', 'plugins', 'routes', 'public', 'assets', 'packages', 'scripts']
  t.same(main.filter((path) => !allowed.includes(path)), [])
})

t.test('the compose file says what it should, and nothing that Compose does not know', async (t) => {
  const compose = parse(await read('docker-compose.yml'), { strict: true, uniqueKeys: true })
  t.same(Object.keys(compose).sort(), ['services', 'volumes'])
  const service = compose.services['self-streme']
  const known = ['build', 'image', 'init', 'restart', 'env_file', 'environment', 'ports', 'volumes', 'healthcheck', 'stop_grace_period', 'deploy', 'cap_drop', 'security_opt', 'read_only', 'tmpfs', 'logging']
  t.same(Object.keys(service).filter((key) => !known.includes(key)), [])
  t.match(service, { init: true, read_only: true, cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'], healthcheck: { test: ['CMD', 'node', 'scripts/health.ts'] } })
  t.ok(service.deploy.resources.limits.memory)
  for (const volume of service.volumes) t.ok(String(volume).split(':')[0] as string in compose.volumes)
  for (const file of service.env_file) await (typeof file === 'string' ? t.resolves(access(new URL(`../${file}`, import.meta.url)), file) : t.equal(file.required, false))
  const { SHUTDOWN_GRACE } = readConfig({})
  t.ok(parseInt(service.stop_grace_period) * 1000 >= SHUTDOWN_GRACE * 1000 + deadlines.stopMs, 'streams end before Docker kills')
  t.doesNotThrow(() => readConfig(service.environment))
  for (const port of service.ports) t.match(port, /^"?\$\{(?:TORRENT_)?PORT:-\d+\}:\$\{(?:TORRENT_)?PORT:-\d+\}(?:\/(?:tcp|udp))?$/)
})

t.test('systemd understands the unit, and thinks it well locked up', async (t) => {
  const verify = await run('systemd-analyze', ['verify', new URL('../deploy/self-streme.service', import.meta.url).pathname]).catch((error: unknown) => error)
  if (verify instanceof Error && 'code' in verify && verify.code === 'ENOENT') {
    t.pass('no systemd on this machine', { skip: true })
    return
  }
  t.match(verify, { stdout: '', stderr: '' })
  const unit = await read('deploy/self-streme.service')
  const grace = Number(/^TimeoutStopSec=(\d+)$/m.exec(unit)?.[1])
  t.ok(grace * 1000 >= readConfig({}).SHUTDOWN_GRACE * 1000 + deadlines.stopMs)
  for (const line of ['NoNewPrivileges=yes', 'ProtectSystem=strict', 'DynamicUser=yes', 'CapabilityBoundingSet=', 'PrivateDevices=yes']) t.match(unit, new RegExp(`^${line}$`, 'm'))
})

t.test("Traefik's file is YAML that leads to the server and to its probe", async (t) => {
  const { http } = parse(await read('deploy/traefik.yml'), { strict: true, uniqueKeys: true })
  t.match(http.services['self-streme'].loadBalancer, { servers: [{ url: `http://127.0.0.1:${readConfig({}).PORT}` }], healthCheck: { path: '/ready' } })
  t.ok(http.serversTransports[http.services['self-streme'].loadBalancer.serversTransport])
})

t.test('Caddy and nginx lead to the default port', async (t) => {
  for (const file of ['deploy/Caddyfile', 'deploy/nginx.conf']) t.match(await read(file), `127.0.0.1:${readConfig({}).PORT}`)
})
