import t from 'tap'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import { CodedError } from '../../../services/errors.ts'
import { checkUrl, guardLookup, guardedLookup, isForeignAddress, isPublicAddress } from '../../../services/download/address-guard.ts'
import type { LookupAll } from '../../../services/download/address-guard.ts'
import type { AddressInfo, LookupFunction } from 'node:net'

t.test('addresses of the public internet pass', async (t) => {
  for (const ip of [
    '1.1.1.1', '8.8.8.8', '9.255.255.255', '11.0.0.0', '100.63.255.255', '100.128.0.0', '126.255.255.255', '128.0.0.1',
    '169.253.255.255', '172.15.255.255', '172.32.0.0', '192.0.1.1', '192.167.255.255', '192.169.0.0', '198.17.255.255', '198.20.0.0',
    '203.0.112.255', '223.255.255.255', '2606:4700:4700::1111', '2a00:1450:4001:81b::200e', '2001:4860:4860::8888',
    '::ffff:8.8.8.8', '::ffff:808:808', '64:ff9b::8.8.8.8', '2002:808:808::1'
  ]) t.equal(isPublicAddress(ip), true, ip)
})

t.test('addresses of this machine, its networks and nobody are refused, in every form', async (t) => {
  for (const ip of [
    '0.0.0.0', '0.1.2.3', '10.0.0.1', '10.255.255.255', '100.64.0.1', '100.127.255.255', '127.0.0.1', '127.255.255.254',
    '169.254.169.254', '172.16.0.1', '172.31.255.255', '192.0.0.1', '192.0.2.1', '192.88.99.1', '192.168.0.1', '198.18.0.1', '198.19.255.255',
    '198.51.100.1', '203.0.113.1', '224.0.0.1', '239.255.255.255', '240.0.0.1', '255.255.255.255',
    '::', '::1', '::127.0.0.1', 'fe80::1', 'fe80::1%eth0', 'fec0::1', 'fc00::1', 'fd12:3456:789a::1', 'ff02::1', '100::1', '2001::1',
    '2001:db8::1', '3fff::1', '5f00::1', '4000::1',
    '::ffff:127.0.0.1', '::ffff:7f00:1', '0:0:0:0:0:FFFF:10.0.0.1', '::ffff:0:127.0.0.1', '::ffff:169.254.169.254',
    '64:ff9b::127.0.0.1', '64:ff9b::a00:1', '64:ff9b:1::8.8.8.8', '2002:7f00:1::', '2002:c0a8:1::1', '2002:a9fe:a9fe::1',
    '', 'localhost', '1.2.3', '256.1.1.1', '[::1]', '8.8.8.8/32'
  ]) t.equal(isPublicAddress(ip), false, ip)
})

t.test('what this machine is called itself is refused, in every form; its neighbours on the public internet are not', async (t) => {
  const own = ['127.0.0.1', '::1', '8.8.4.4', 'fe80::1', '2606:4700:4700::1001']
  for (const ip of ['8.8.4.4', '::ffff:8.8.4.4', '64:ff9b::8.8.4.4', '2002:808:404::1', '2606:4700:4700::1001', '2606:4700:4700:0:0:0:0:1001', '127.0.0.1', '10.0.0.1', 'localhost']) {
    t.equal(isForeignAddress(ip, own), false, ip)
  }
  for (const ip of ['8.8.8.8', '2606:4700:4700::1002', '::ffff:8.8.8.8']) t.equal(isForeignAddress(ip, own), true, ip)
  t.equal(isForeignAddress('8.8.4.4'), true)
})

t.test('URLs that a stranger may name', async (t) => {
  for (const url of [
    'http://example.org/', 'https://example.org/a?b', 'http://example.org:8080/', 'https://example.org:8443/', 'http://8.8.8.8/', 'http://[2606:4700::1]/',
    'http://example.org:11470/', 'https://example.org:443/'
  ]) t.doesNotThrow(() => { checkUrl(new URL(url)) }, url)
})

t.test('URLs that a stranger may not name', async (t) => {
  for (const url of [
    'ftp://example.org/', 'file:///etc/passwd', 'data:text/plain,x', 'unix:/run/docker.sock',
    'http://user@example.org/', 'http://user:pass@example.org/', 'http://:pass@example.org/',
    'http://example.org:22/', 'http://example.org:25/', 'https://example.org:6379/', 'http://example.org:11211/', 'http://example.org:2375/', 'http://example.org:0/',
    'http://127.0.0.1/', 'http://2130706433/', 'http://0x7f.1/', 'http://0177.0.0.1/', 'http://127.0.0.1./', 'http://[::1]:8080/', 'http://[::ffff:127.0.0.1]/',
    'http://127.1/', 'http://017700000001/', 'http://0/', 'http://%31%32%37.0.0.1/', 'http://１２７.０.０.１/', 'http://localhost/', 'http://LOCALHOST.:8080/', 'http://a.localhost/', 'http://①②⑦.⓪.⓪.①/',
    'http://[::127.0.0.1]/', 'http://[::ffff:0:127.0.0.1]/', 'http://[64:ff9b::10.0.0.1]/', 'http://[64:ff9b:1::8.8.8.8]/', 'http://[fe80::1]/', 'http://[ff02::1]/', 'http://[fd00::1]/', 'http://[2002:7f00:1::]/',
    'gopher://example.org/', 'ws://example.org/', 'http://example.org:445/', 'http://example.org:27017/', 'http://@localhost/', 'http://100.100.100.200/', 'http://224.0.0.251/', 'http://255.255.255.255/',
    'http://169.254.169.254/latest/meta-data/', 'http://[64:ff9b::7f00:1]/', 'http://10.0.0.1:8080/'
  ]) t.throws(() => { checkUrl(new URL(url)) }, { code: 'ADDRESS_REFUSED' }, url)
})

/** A resolver with one answer. */
function resolver (answer: string[] | Error): LookupAll {
  return (_hostname, _options, callback) => {
    setImmediate(() => {
      if (answer instanceof Error) callback(answer, [])
      else callback(null, answer.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
    })
  }
}

async function ask (lookup: LookupFunction, all: boolean): Promise<unknown> {
  return await new Promise((resolve, reject) => {
    lookup('name.example', { all }, (error, address) => { if (error === null) resolve(address); else reject(error) })
  })
}

t.test('a name is worth only its public addresses', async (t) => {
  t.strictSame(await ask(guardLookup(resolver(['127.0.0.1', '8.8.8.8', '::1', '2606:4700::1'])), true), [
    { address: '8.8.8.8', family: 4 }, { address: '2606:4700::1', family: 6 }
  ])
  t.equal(await ask(guardLookup(resolver(['10.0.0.1', '8.8.8.8'])), false), '8.8.8.8')
  await t.rejects(ask(guardLookup(resolver(['10.0.0.1', '::ffff:127.0.0.1'])), true), { code: 'ADDRESS_REFUSED' })
  await t.rejects(ask(guardLookup(resolver([])), false), { code: 'ADDRESS_REFUSED' })
  await t.rejects(ask(guardLookup(resolver(new Error('ENOTFOUND'))), true), { message: 'ENOTFOUND' })
})

t.test('a socket to a name of this machine is never opened', async (t) => {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close() })
  let connections = 0
  server.on('connection', (socket) => { connections++; socket.destroy() })
  const { port } = server.address() as AddressInfo
  for (const autoSelectFamily of [true, false]) {
    const socket = connect({ host: 'localhost', port, lookup: guardedLookup, autoSelectFamily })
    const [error] = await once(socket, 'error', { signal: AbortSignal.timeout(5000) }).catch((error: unknown) => [error])
    t.ok(error instanceof CodedError && error.code === 'ADDRESS_REFUSED', String(error))
  }
  t.equal(connections, 0)
})
