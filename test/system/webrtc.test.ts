import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { startTurnServer } from '../coturn.ts'
import { startLab } from '../lab.ts'
import { startLabServer } from '../lab-server.ts'
import { missing, temporaryDirectory, testBytes, testWith } from '../testnet.ts'

/** A peer in a browser, reached through our relay: WebRTC, a WebSocket tracker, coturn. */

const root = fileURLToPath(new URL('../..', import.meta.url))
const film = testBytes(3_000_000, 'WebRTC')

/** A WebSocket tracker; prints that it listens. */
const tracker = `
import { Server } from 'bittorrent-tracker'
const server = new Server({ http: false, udp: false, ws: true, stats: false })
server.on('error', () => {})
server.on('warning', () => {})
server.listen(8000, process.argv[1], () => { console.log('listening') })
`

for (const blocksUdp of [false, true]) {
  testWith(t, `a page in Chromium seeds, and ${blocksUdp ? 'no UDP gets out here' : 'no direct path opens'} -> the film comes through our relay, byte for byte`, async (t) => {
    const executable = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
    if (!existsSync(executable)) throw missing('chromium')
    const lab = await startLab(t)
    const [host, home, relay] = [await lab.host({ nat: 'symmetric', blocksUdp }), await lab.host({ nat: 'symmetric' }), await lab.host()]
    await lab.block(host, home)
    const turn = await startTurnServer(t, relay)
    const ws = relay.spawn(process.execPath, ['--input-type=module', '-e', tracker, relay.address], { cwd: root })
    if (ws.stdout !== null) await once(ws.stdout, 'data')
    const url = `ws://${relay.address}:8000`

    const path = join(await temporaryDirectory(t), 'Film.mp4')
    await writeFile(path, film)
    const page = home.spawn(process.execPath, [join(root, 'test/webrtc-seed.ts'), home.address, path, url, `${relay.address}:3478`])
    let errors = ''
    page.stderr?.on('data', (chunk: Buffer) => { errors += chunk.toString() })
    t.teardown(() => { if (!t.passing()) t.comment(errors) })
    const lines = createInterface({ input: page.stdout ?? process.stdin })[Symbol.asyncIterator]()
    const { value: infohash } = await lines.next()
    if (infohash === undefined) throw new Error(`the page does not seed: ${errors}`)
    await lines.next()

    const server = await startLabServer(t, host, { ENABLE_PORT_MAPPING: 'false', TURN_URLS: blocksUdp ? `${turn}?transport=tcp` : turn, TURN_USERNAME: 'film', TURN_CREDENTIAL: 'secret', P2P_TIMEOUT: '40000' })
    const got = join(await temporaryDirectory(t), 'got')
    const answer = await host.run('curl', ['-s', '-f', '-o', got, '-w', '%{http_code} %header{x-stream-source}', `http://127.0.0.1:11470/stream/proxy/${infohash}?tr=${encodeURIComponent(url)}`])
    t.equal(answer, '200 p2p')
    t.equal(sha1(await readFile(got)), sha1(film), `${film.length} bytes are equal`)
    t.ok((await server.network()).hasWebRtc)
  })
}

function sha1 (bytes: Uint8Array): string {
  return createHash('sha1').update(bytes).digest('hex')
}
