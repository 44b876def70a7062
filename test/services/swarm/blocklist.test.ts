import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import t from 'tap'
import { canonicalAddress } from '../../../services/download/address-guard.ts'
import { Blocklist, parseBlocklistLine } from '../../../services/swarm/blocklist.ts'
import { buildApp } from '../../../app.ts'
import { readConfig } from '../../../services/config.ts'
import { makeTorrent, temporaryDirectory, testBytes, until } from '../../testnet.ts'
import { seededRandom } from '../pieces/torrent.ts'
import { knock, startBadPeer } from './bad-peer.ts'
import { openStore, recordingLog, sameFiles, startSwarm, verified, wantAll } from './swarm-setup.ts'
import type { Test } from 'tap'

function ip (value: number): string {
  return [24, 16, 8, 0].map((bits) => (value / 2 ** bits) & 255).join('.')
}

function told (line: string): string | null {
  const range = parseBlocklistLine(line)
  if (range === null || range === 'bad') return range
  return range.isV6 ? `${range.from.toString(16)}-${range.to.toString(16)}` : `${ip(range.from)}-${ip(range.to)}`
}

async function fileOf (t: Test, content: string | Buffer): Promise<string> {
  const path = join(await temporaryDirectory(t), 'list')
  await writeFile(path, content)
  return path
}

t.test('lines of all formats that are in use', async (t) => {
  for (const [line, expected] of [
    ['Some Organisation:1.2.3.4-1.2.3.255', '1.2.3.4-1.2.3.255'],
    ['Bogon: IANA - reserved, 1-2:10.0.0.0-10.255.255.255', '10.0.0.0-10.255.255.255'],
    ['a # in the name:1.2.3.4-1.2.3.5', '1.2.3.4-1.2.3.5'],
    [':1.2.3.4-1.2.3.5', '1.2.3.4-1.2.3.5'],
    ['001.002.003.000 - 001.002.003.255 , 000 , Some organisation', '1.2.3.0-1.2.3.255'],
    ['1.2.3.0 - 1.2.3.255 , 127 , blocked', '1.2.3.0-1.2.3.255'],
    ['1.2.3.0 - 1.2.3.255 , 128 , let through', null],
    ['192.0.2.0/24', '192.0.2.0-192.0.2.255'],
    ['192.0.2.77/24 ; SBL1', '192.0.2.0-192.0.2.255'],
    ['0.0.0.0/0', '0.0.0.0-255.255.255.255'],
    ['255.255.255.255/32', '255.255.255.255-255.255.255.255'],
    ['1.2.3.4', '1.2.3.4-1.2.3.4'],
    ['  1.2.3.4   # a remark\r', '1.2.3.4-1.2.3.4'],
    ['1.2.3.4-1.2.3.9', '1.2.3.4-1.2.3.9'],
    ['\uFEFF1.2.3.4', '1.2.3.4-1.2.3.4'],
    ['2001:db8::/32', '20010db8000000000000000000000000-20010db8ffffffffffffffffffffffff'],
    ['2001:DB8::1', '20010db8000000000000000000000001-20010db8000000000000000000000001'],
    ['2001:db8::1-2001:db8::f', '20010db8000000000000000000000001-20010db800000000000000000000000f'],
    ['', null], ['   ', null], ['# 1.2.3.4', null], ['; 1.2.3.4', null], ['// 1.2.3.4', null],
    ['1.2.3.9-1.2.3.4', 'bad'], ['name:1.2.3.4', 'bad'], ['1.2.3.256', 'bad'], ['1.2.3.0/33', 'bad'], ['2001:db8::/129', 'bad'],
    ['1.2.3.4-2001:db8::1', 'bad'], ['example.org', 'bad'], ['<html>', 'bad'], ['1.2.3', 'bad'], ['a'.repeat(100_000), 'bad'], ['1-'.repeat(50_000), 'bad']
  ] as const) t.equal(told(line), expected, line.slice(0, 60))
})

t.test('an address is found exactly where some range has it', async (t) => {
  const random = seededRandom(11)
  const ranges = Array.from({ length: 2_000 }, () => {
    const from = random(2 ** 16)
    return [from, Math.min(from + random(12), 2 ** 16 - 1)] as const
  })
  ranges.push([2 ** 32 - 3, 2 ** 32 - 1])
  const list = await Blocklist.read(await fileOf(t, ranges.map(([from, to], i) => `n${i}:${ip(from)}-${ip(to)}`).join('\n')))
  t.equal(list.rangeCount, ranges.length)
  let wrong = 0
  for (const value of [...Array(2 ** 16 + 5).keys(), 2 ** 32 - 4, 2 ** 32 - 3, 2 ** 32 - 1]) {
    if (list.has(ip(value)) !== ranges.some(([from, to]) => from <= value && value <= to)) wrong++
  }
  t.equal(wrong, 0)
  const six = await Blocklist.read(await fileOf(t, '2001:db8::/64\n2001:db8:0:0:8000::/65\n2001:db8:1::5-2001:db8:1::7\n'))
  for (const [address, isIn] of [
    ['2001:db8::', true], ['2001:db8::ffff:ffff:ffff:ffff', true], ['2001:db8:0:1::', false], ['2001:db7:ffff:ffff:ffff:ffff:ffff:ffff', false],
    ['2001:db8:1::4', false], ['2001:db8:1::5', true], ['2001:db8:1::7', true], ['2001:db8:1::8', false], ['1.2.3.4', false]
  ] as const) t.equal(six.has(canonicalAddress(address) ?? ''), isIn, address)
})

t.test('three hundred thousand ranges, compressed: read in a moment, and small', async (t) => {
  const random = seededRandom(4)
  const lines = Array.from({ length: 300_000 }, (_, i) => {
    const from = random(2 ** 32 - 5_000)
    return `Organisation ${i}:${ip(from)}-${ip(from + random(5_000))}`
  })
  const path = await fileOf(t, gzipSync([...lines, 'nonsense', '# a remark', 'more nonsense'].join('\n')))
  const before = process.cpuUsage()
  const list = await Blocklist.read(path)
  const { user, system } = process.cpuUsage(before)
  t.match(list, { rangeCount: 300_000, badLines: 2, firstBadLine: 300_001 })
  t.ok(user + system < 10_000_000, `${(user + system) / 1e6} s of CPU time`)
  const startedAt = performance.now()
  for (let i = 0; i < 100_000; i++) list.has('192.0.2.1')
  t.ok(performance.now() - startedAt < 5_000)
})

t.test('what is no list, or breaks off, is refused', async (t) => {
  await t.rejects(Blocklist.read(await fileOf(t, '<!DOCTYPE html>\n<html>\n')), { message: /no blocklist: not one of its 2 lines/ })
  const whole = gzipSync(Buffer.concat(Array.from({ length: 5_000 }, (_, i) => Buffer.from(`${testBytes(20, `${i}`).toString('hex')}:1.2.3.4-1.2.3.5\n`))))
  await t.rejects(Blocklist.read(await fileOf(t, whole.subarray(0, whole.length / 2))))
  await t.rejects(Blocklist.read(join(await temporaryDirectory(t), 'missing')), { code: 'ENOENT' })
  t.equal((await Blocklist.read(await fileOf(t, '# nobody yet\n'))).rangeCount, 0, 'one that is empty blocks nobody')
})

t.test('a peer on the list is neither dialled nor let in, and one that comes onto the list is let go', async (t) => {
  const film = await makeTorrent({ 'film.mkv': testBytes(600_001, 'blocked film') }, { pieceLength: 65_536 })
  const [blocked, later, free] = [await startBadPeer(t, film, 'honest', { ip: '127.5.0.1' }), await startBadPeer(t, film, 'honest', { ip: '127.6.0.1' }), await startBadPeer(t, film, 'honest', { ip: '127.7.0.1' })]
  const path = await fileOf(t, 'network five:127.5.0.0-127.5.255.255\nnonsense\n')
  const log = recordingLog()
  const swarm = await startSwarm(t, { blocklistPath: path, staticPeers: [blocked.address], log })
  t.ok(log.lines.includes('warn the blocklist is read but for 1 lines that name no address'))
  const store = await openStore(t, film)
  const torrent = swarm.join(film.infohash, { torrent: film.torrent, trackers: [], peers: [blocked.address, later.address, free.address], store })
  wantAll(torrent, store)
  await verified(store)
  await sameFiles(t, store, film)
  t.equal(blocked.counts.wires, 0)
  await until('both are connected', () => torrent.stats.peersConnected === 2)
  const port = swarm.network.ports.tcp ?? 0
  t.equal(await knock(t, film, port, '127.5.0.9', blocked.peerId), 'closed')
  t.equal(await knock(t, film, port, '127.8.0.9', blocked.peerId), 'welcome')
  await writeFile(path, '127.6.0.0/16\n')
  await until('it is let go', () => torrent.stats.peersConnected === 1)
  t.equal(await knock(t, film, port, '127.5.0.9', blocked.peerId), 'welcome', 'who is on it no more gets in')
  await writeFile(path, '<html>')
  await until('it cannot be read', () => log.lines.includes('warn the blocklist cannot be read: the last one stays'))
  t.equal(await knock(t, film, port, '127.6.0.9', blocked.peerId), 'closed')
})

t.test('without the file the server does not start, and says why', async (t) => {
  const directory = await temporaryDirectory(t)
  const path = join(directory, 'missing.p2p')
  const config = readConfig({ TORRENT_DOWNLOAD_PATH: directory, P2P_BLOCKLIST: path, TORRENT_PORT: '0', TRACKERS: 'none', DHT_BOOTSTRAP: 'none', STUN_SERVERS: 'none', MEDIA_PATHS: 'none' })
  await t.rejects(buildApp({ config }), { message: new RegExp(`^P2P_BLOCKLIST names a file that cannot be read: .*${path}`) })
})
