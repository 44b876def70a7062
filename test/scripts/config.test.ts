import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execFile } from 'node:child_process'
import t, { type Test } from 'tap'
import { temporaryDirectory } from '../testnet.ts'

const script = join(import.meta.dirname, '..', '..', 'scripts', 'config.ts')

/** `npm run config` in a folder with this .env. */
async function show (t: Test, args: string[], env: Record<string, string>, dotenv = ''): Promise<{ code: number, stdout: string, stderr: string }> {
  const cwd = await temporaryDirectory(t)
  await writeFile(join(cwd, '.env'), dotenv)
  return await new Promise((resolve) => {
    execFile(process.execPath, [script, ...args], { cwd, env: { PATH: process.env['PATH'], ...env } }, (error, stdout, stderr) => { resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr }) })
  })
}

t.test('each setting is shown with its value and where it has come from', async (t) => {
  const { stdout, code } = await show(t, [], { PORT: '8080', P2P_TIMEOUT: '' }, 'P2P_TIMEOUT=15000\nPORT=1\n')
  t.equal(code, 0)
  t.match(stdout, /^PORT +8080 {2}\(environment\)$/m)
  t.match(stdout, /^P2P_TIMEOUT +15000 {2}\(\.env\)$/m, 'an empty value hides nothing')
  t.match(stdout, /^API_TOKEN +unset: made at the first start, .*api-token.* {2}\(default\)$/m)
  t.match(stdout, /^MAX_TORRENTS +16 {2}\(default\)$/m)
  t.match(stdout, /^TRACKERS +udp:\/\/tracker\.opentrackr\.org:1337\/announce,/m)
})

t.test('only what is set, on demand, and on a panel the port of the panel', async (t) => {
  const panel = { P_SERVER_UUID: 'x', SERVER_PORT: '25565', PORT: '1' }
  t.equal((await show(t, ['--changed'], panel)).stdout, 'PORT  25565  (environment (SERVER_PORT))\n')
  const { stdout } = await show(t, ['--json'], panel)
  const entries: Array<{ name: string }> = JSON.parse(stdout)
  t.same(entries.find(({ name }) => name === 'CACHE_MAX_DISK_MB'), { name: 'CACHE_MAX_DISK_MB', value: '2000', origin: 'default on a panel' })
  t.same(entries.find(({ name }) => name === 'TORRENT_PORT'), { name: 'TORRENT_PORT', value: '25565', origin: 'default on a panel' })
})

t.test('no secret is shown, whatever it is in', async (t) => {
  const { stdout } = await show(t, [], {
    API_TOKEN: 'qqsecret1', STREAM_SIGNING_KEY: 'qqsecret2', TURN_CREDENTIAL: 'qqsecret3', WEBTOR_TOKEN: 'qqsecret4', WEBTOR_URL: 'http://h/qqsecret5', TRACKERS: 'http://t.example/qqsecret6/announce', HTTP_MIRROR_URLS: 'http://u:qqsecret7@nas/{hash},http://nas/qqsecret8/{hash}'
  })
  t.notMatch(stdout, /qqsecret/)
  t.match(stdout, /^API_TOKEN +set, and not shown {2}\(environment\)$/m)
  t.match(stdout, /^TRACKERS +http:\/\/t\.example\/…/m)
})

t.test('wrong settings are named, as at the start of the server', async (t) => {
  t.match(await show(t, [], { PORT: 'abc' }), { code: 1, stdout: '', stderr: /PORT must be .*"abc"/ })
})
