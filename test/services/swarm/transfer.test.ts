import crypto from 'node:crypto'
import { once } from 'node:events'
import t from 'tap'
import type { Torrent, Wire } from 'webtorrent'
import { checkPrimeOnce, joinOnce, sendAtOnce, sendTogether } from '../../../services/swarm/internals/transfer.ts'
import { makeTorrent, temporaryDirectory, testBytes } from '../../testnet.ts'
import { startClient, startSeed } from './webtorrent-seed.ts'

/** The private calls of internals/transfer.ts, between two real clients. */

const film = await makeTorrent({ 'film.mkv': testBytes(2_000_000, 'transfer') }, { pieceLength: 262_144 })
const signal = (): AbortSignal => AbortSignal.timeout(20_000)

for (const utp of [false, true]) {
  for (const secure of [0, 2]) {
    t.test(`a film comes whole ${utp ? 'over uTP' : 'over TCP'}${secure === 2 ? ', encrypted' : ''}: messages are sent together, and joined once`, async (t) => {
      const directory = await temporaryDirectory(t)
      const options = { utp, secure }
      const seed = await startSeed(t, film, options)
      const client = await startClient(t, options)
      let pushes = 0
      let requests = 0
      const tune = (torrent: Torrent): void => {
        torrent.on('wire', (wire: Wire) => {
          sendAtOnce(torrent, wire)
          sendTogether(wire)
          joinOnce(wire)
        })
      }
      tune(seed.torrent)
      seed.torrent.on('wire', (wire: Wire) => { wire.on('request', () => { requests++ }) })
      const torrent = client.add(film.torrent, { path: directory })
      tune(torrent)
      torrent.on('wire', (wire: Wire) => {
        const push = wire.push.bind(wire)
        wire.push = (bytes) => {
          pushes++
          return push(bytes)
        }
      })
      await once(torrent, 'ready', { signal: signal() })
      torrent.addPeer(seed.address)
      await once(torrent, 'done', { signal: signal() })
      t.ok(torrent.bitfield.get(7))
      t.ok(requests >= 2_000_000 / 16_384, `${requests} requests`)
      t.ok(pushes < requests, `sent in ${pushes} parts`)
    })
  }
}

t.test('small messages over TCP are not held back', async (t) => {
  const seed = await startSeed(t, film, { utp: false })
  const client = await startClient(t, { utp: false })
  const torrent = client.add(film.torrent, { path: await temporaryDirectory(t) })
  torrent.once('infoHash', () => { torrent.addPeer(seed.address) })
  const [wire]: Wire[] = await once(torrent, 'wire', { signal: signal() })
  const told: unknown[] = []
  for (const { conn } of torrent._peers?.values() ?? []) Object.assign(conn ?? {}, { setNoDelay: (isOn: unknown) => { told.push(isOn) } })
  if (wire === undefined) throw new Error('no wire')
  sendAtOnce(torrent, wire)
  t.same(told, [true])
})

t.test('the prime of encrypted handshakes is checked once, and both sides come to the same secret', async (t) => {
  const create = crypto.createDiffieHellman
  t.teardown(() => { Object.assign(crypto, { createDiffieHellman: create }) })
  checkPrimeOnce()
  let made = 0
  let prime = ''
  const counted = crypto.createDiffieHellman
  Object.assign(crypto, {
    createDiffieHellman: (...args: unknown[]) => {
      const pair: unknown = Reflect.apply(counted, crypto, args)
      prime = String(args[0])
      if (pair?.constructor.name === 'KeyPair') made++
      return pair
    }
  })
  const seed = await startSeed(t, film, { utp: false, secure: 2 })
  const client = await startClient(t, { utp: false, secure: 2 })
  const torrent = client.add(film.torrent, { path: await temporaryDirectory(t) })
  torrent.once('infoHash', () => { torrent.addPeer(seed.address) })
  await once(torrent, 'done', { signal: signal() })
  t.equal(made, 2, 'one for each side: WebTorrent asks for the prime that is known here')
  t.equal(crypto.createDiffieHellman(prime, 'hex', 5).getGenerator('hex'), '05', 'other groups are made as ever')
})
