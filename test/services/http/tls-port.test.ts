import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import t from 'tap'
import { TlsPort } from '../../../services/http/tls-port.ts'
import { makeCertificate, trust } from '../../certificate.ts'
import { bytesFrom, jsonFrom, startApp } from '../../helper.ts'
import { freePort, temporaryDirectory, until } from '../../testnet.ts'
import type { Test } from 'tap'
import type { TestCertificate } from '../../certificate.ts'

async function files (t: Test, certificate = makeCertificate()) {
  const directory = await temporaryDirectory(t)
  const paths = { TLS_CERT_FILE: join(directory, 'cert.pem'), TLS_KEY_FILE: join(directory, 'key.pem') }
  const write = async ({ cert, key }: TestCertificate): Promise<void> => {
    await writeFile(paths.TLS_CERT_FILE, cert)
    await writeFile(paths.TLS_KEY_FILE, key)
  }
  await write(certificate)
  return { paths, certificate, write }
}

/** The certificate that is served there. */
async function served (port: number): Promise<string> {
  const socket = connectTls({ port, host: '127.0.0.1', rejectUnauthorized: false })
  await once(socket, 'secureConnect')
  const { fingerprint256 } = socket.getPeerCertificate()
  socket.destroy()
  return fingerprint256
}

t.test('HTTPS has a port of its own beside HTTP, and links have the scheme by which one came', async (t) => {
  const { paths, certificate } = await files(t)
  trust(certificate)
  const { app, url } = await startApp(t, { ...paths, HTTPS_PORT: '0' })
  const secure = `https://127.0.0.1:${app.https.port}`
  t.match((await jsonFrom(`${secure}/manifest.json`)).body.logo, `${secure}/assets/icon.svg`)
  t.match((await jsonFrom(`${url}/manifest.json`)).body.logo, `${url}/assets/icon.svg`)
  const mock = 'stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd'
  t.ok((await bytesFrom(`${secure}/${mock}`)).equals(await bytesFrom(`${url}/${mock}`)), 'a stream comes whole')
})

t.test('one port serves both, told apart by the first byte, however slowly it comes', async (t) => {
  const { paths, certificate } = await files(t)
  trust(certificate)
  const port = await freePort()
  const { url } = await startApp(t, { ...paths, PORT: String(port), HTTPS_PORT: String(port) })
  const secure = url.replace('http:', 'https:')
  t.equal((await jsonFrom(`${url}/health`)).status, 200)
  t.equal((await jsonFrom(`${secure}/health`)).status, 200)
  const mock = 'stream/proxy/39730aa7c09b864432bc8c878c20c933059241fd'
  t.ok((await bytesFrom(`${secure}/${mock}`)).equals(await bytesFrom(`${url}/${mock}`)))
  const silent = connect(Number(new URL(url).port), '127.0.0.1')
  silent.on('error', () => {})
  silent.write(Buffer.of(0x16, 3))
  await once(silent, 'connect')
  t.equal((await jsonFrom(`${secure}/health`)).status, 200, 'one that hangs in its handshake holds up nobody, nor the end')
})

t.test('a renewed certificate is served without a restart, one that makes no sense is not', async (t) => {
  const { paths, write } = await files(t)
  const lines: string[] = []
  const log = { info (_: object, line: string) { lines.push(line) }, warn (_: object, line: string) { lines.push(line) }, debug () {}, error () {} }
  const { app } = await startApp(t)
  const port = await TlsPort.open({ certFile: paths.TLS_CERT_FILE, keyFile: paths.TLS_KEY_FILE, server: app.server, log: log as never, checkMs: 20 })
  t.teardown(() => { port.close() })
  const number = await port.listen(0, '127.0.0.1')
  const first = await served(number)
  await writeFile(paths.TLS_CERT_FILE, 'nonsense')
  await until('it is told', () => lines.some((line) => line.includes('cannot be used')))
  t.equal(await served(number), first)
  await write(makeCertificate())
  await until('it is read', () => lines.some((line) => line.includes('read again')))
  t.not(await served(number), first)
})

t.test('what is wrong with the files is told at the start', async (t) => {
  const { paths, certificate } = await files(t)
  await t.rejects(startApp(t, { ...paths, TLS_KEY_FILE: '/nowhere/key.pem' }), { message: /^TLS_CERT_FILE and TLS_KEY_FILE: .*nowhere/ })
  await writeFile(paths.TLS_CERT_FILE, makeCertificate().cert)
  await t.rejects(startApp(t, paths), { message: /^TLS_CERT_FILE and TLS_KEY_FILE: / }, 'they do not belong together')
  await t.rejects(startApp(t, { TLS_CERT_FILE: paths.TLS_CERT_FILE }), { message: /^TLS_KEY_FILE must be set/ })
  await writeFile(paths.TLS_CERT_FILE, certificate.cert)
  const { app } = await startApp(t, { ...paths, HTTPS_PORT: '0' })
  await t.rejects(startApp(t, { ...paths, HTTPS_PORT: String(app.https.port) }), { message: /^HTTPS_PORT \d+ is taken/ })
})
