import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { startLab } from '../lab.ts'
import type { NatKind } from '../lab.ts'
import { askOn, startSeederOn, startServerOn } from '../lab-swarm.ts'
import { makeTorrent, temporaryDirectory, testBytes, testWith, until } from '../testnet.ts'
import type { TestTorrent } from '../testnet.ts'

/**
 * Who reaches whom: our server behind each kind of NAT, and a libtorrent seeder behind each. Each pair has a torrent of
 * its own and knows at first only the relay, an ordinary libtorrent leech on a public address that has next to nothing.
 */

const kinds: readonly NatKind[] = ['none', 'full cone', 'address restricted', 'port restricted', 'symmetric']

/** What hole punching with a relay can open: not what expects a port that the other side's NAT does not keep. */
function isWinnable ({ ours, theirs }: Pick<Cell, 'ours' | 'theirs'>): boolean {
  const strict = ['port restricted', 'symmetric']
  return !(ours === 'symmetric' && strict.includes(theirs)) && !(theirs === 'symmetric' && strict.includes(ours))
}

const width = 20

interface Cell {
  readonly ours: NatKind
  readonly theirs: NatKind
  readonly film: TestTorrent
}

async function makeCell (ours: NatKind, theirs: NatKind): Promise<Cell> {
  const name = `${ours} and ${theirs}`.replaceAll(' ', '-')
  return { ours, theirs, film: await makeTorrent({ [`${name}.mkv`]: testBytes(2_000_000, name) }, { pieceLength: 524_288 }) }
}

testWith(t, 'our server behind each kind of NAT, a libtorrent seeder behind each', async (t) => {
  const cells: Cell[] = []
  for (const ours of kinds) for (const theirs of kinds) cells.push(await makeCell(ours, theirs))
  const hopeless = cells.filter((cell) => !isWinnable(cell))

  const lab = await startLab(t)
  const relayHost = await lab.host()
  const mirror = await lab.host()
  const mirrored = await temporaryDirectory(t)
  for (const { film } of hopeless) await writeFile(join(mirrored, `${film.infohash}.mkv`), film.files[0]?.bytes ?? '')
  mirror.spawn('/usr/bin/python3', ['-m', 'http.server', '8000', '--bind', mirror.address, '--directory', mirrored])
  const relay = await startSeederOn(t, relayHost, cells.map(({ film }) => film), { isLeech: true, downloadLimit: 500_000, keepsRedundant: true })

  const servers = new Map(await Promise.all(kinds.map(async (kind) => {
    const host = await lab.host({ nat: kind })
    const server = await startServerOn(t, host, {
      STATIC_PEERS: relay.address, HTTP_ALLOW_PRIVATE_NETWORKS: 'false', HTTP_MIRROR_URLS: `http://${mirror.address}:8000/{hash}.mkv`
    })
    return [kind, { host, server }] as const
  })))
  const watch = async (cell: Cell) => {
    const server = servers.get(cell.ours)
    if (server === undefined) throw new Error(cell.ours)
    return { cell, answer: await askOn(t, server.host, `/stream/proxy/${cell.film.infohash}`, 70) }
  }
  const startSeeder = async (kind: NatKind) => {
    const mine = cells.filter(({ theirs }) => theirs === kind).map(({ film }) => film)
    // It dials by TCP in vain for so long before it asks the relay, and hears nothing of a hole meanwhile: by itself 15 s.
    return await startSeederOn(t, await lab.host({ nat: kind }), mine, { peers: [relay.address], isApart: true, connectTimeoutSeconds: 6 })
  }
  /** Connected is not enough: where a peer listens is in its extended handshake, as its version is. */
  const relayKnows = async (some: readonly Cell[], client: RegExp): Promise<void> => {
    console.error(JSON.stringify((await relay.allCounts()).map((x) => x.connected.map((y) => y.client))))
    await until(`the relay knows ${client.source}`, async () => {
      const all = await relay.allCounts()
      return some.every(({ film }) => all.some(({ infohash, connected }) => infohash === film.infohash && connected.some((peer) => client.test(peer.client))))
    })
  }

  // libtorrent tells a peer of the others right after its handshake, then a minute later: who has to ask comes last. That
  // is the seeder where it is behind the symmetric NAT, for it alone knows where we are; else we.
  const early = cells.filter((cell) => cell.theirs === 'symmetric' && isWinnable(cell))
  const late = cells.filter((cell) => !early.includes(cell))
  const seeders = new Map(await Promise.all(kinds.slice(0, -1).map(async (kind) => [kind, await startSeeder(kind)] as const)))
  const watched = early.map(watch)
  await relayKnows(early, /WebTorrent|WW/)
  seeders.set('symmetric', await startSeeder('symmetric'))
  await relayKnows(cells, /^libtorrent\//)
  const results = await Promise.all([...watched, ...late.map(watch)])

  const rows = new Map(kinds.map((kind) => [kind, [kind.padEnd(width)]]))
  for (const cell of cells) {
    const { ours, theirs, film } = cell
    const name = `${ours} and ${theirs}`
    const answer = results.find((result) => result.cell === cell)?.answer
    if (answer === undefined) throw new Error(name)
    t.ok(film.files[0]?.bytes.equals(answer.body), `${name}: the whole film (${answer.status}, ${answer.body.length} bytes)`)
    const counts = (await seeders.get(theirs)?.allCounts())?.find(({ infohash }) => infohash === film.infohash)
    // The relay had a part of it, too.
    const isConnected = (counts?.uploaded ?? 0) > 1_600_000
    t.equal(isConnected, isWinnable(cell), `${name}: ${isConnected ? 'connected' : 'not connected'}, ${counts?.uploaded ?? 0} bytes from the seeder`)
    // So small a film may be whole, and in the cache, before its first byte leaves.
    t.match(answer.source, isWinnable(cell) ? /^(?:p2p|cache)$/ : /^http-fallback$/)
    if (!isWinnable(cell)) t.ok(answer.firstByte < 10, `${name}: first byte from the mirror after ${answer.firstByte} s`)
    rows.get(ours)?.push(`${isConnected ? 'P2P' : 'HTTP'} ${answer.firstByte.toFixed(1)} s`.padEnd(width))
  }
  t.comment(['server \\ seeder', ...kinds].map((text) => text.padEnd(width)).join(''))
  for (const row of rows.values()) t.comment(row.join(''))
  for (const [kind, { host }] of servers) {
    const { body } = await askOn(t, host, '/api/network', 5)
    t.comment(`${kind}: ${/"holePunches":\{.*?\},"bans"/.exec(body.toString())?.[0] ?? ''}`)
  }
})
