import { Writable } from 'node:stream'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import t from 'tap'
import { readChecked } from '../../checked-read.ts'
import { startApp } from '../../helper.ts'
import { seededRandom, shuffled } from '../../services/pieces/torrent.ts'
import { knock, startBadPeer } from '../../services/swarm/bad-peer.ts'
import type { BadPeer, Behaviour } from '../../services/swarm/bad-peer.ts'
import { seedOf, tellFigure } from '../../soak.ts'
import { makeTorrent, startSeeder, startSeederOf, testBytes, testWith, until, writeContent } from '../../testnet.ts'
import type { TestSeeder, TestTorrent } from '../../testnet.ts'
import type { Test } from 'tap'

const KBs = 1000

/** So many of each; with six slow libtorrent seeders and two that have another film under the same name they are thirty. */
const cast: ReadonlyArray<readonly [Behaviour, count: number]> = [['wrong', 3], ['one block', 4], ['now and then', 3], ['refuses', 3], ['stalls', 3], ['drops', 3], ['honest', 3]]
const liesBy = new Set<Behaviour>(['wrong', 'one block', 'now and then'])

/** libtorrent that believes to have the film and sends something else. */
async function startDeceived (t: Test, torrent: TestTorrent, seed: string): Promise<TestSeeder> {
  const content = await writeContent(t, torrent)
  await writeFile(join(content.directory, torrent.metadata.name), testBytes(torrent.metadata.lengthBytes, seed))
  return await startSeederOf(t, content, { uploadLimit: 500 * KBs, isUnchecked: true })
}

testWith(t, 'thirty peers of which some hang up, fall silent, refuse or send wrong data: it plays to the end, and each liar is banned, nobody else', async (t) => {
  const seed = seedOf(t)
  const random = seededRandom(seed)
  const film = testBytes(30_000_000, `bad swarm ${seed}`)
  const torrent = await makeTorrent({ 'Film.mp4': film }, { pieceLength: 131_072 })
  const honest = await Promise.all(Array.from({ length: 6 }, async () => await startSeeder(t, torrent, { uploadLimit: 400 * KBs })))
  const deceived = await Promise.all(['one', 'two'].map(async (name) => await startDeceived(t, torrent, name)))
  const others: BadPeer[] = []
  for (const [behaviour, count] of cast) {
    // Their addresses are their own; the libtorrent ones share one, the two deceived ones among them.
    for (let i = 0; i < count; i++) others.push(await startBadPeer(t, torrent, behaviour, { ip: `127.0.${others.length + 1}.1`, random, uploadLimit: 500 * KBs }))
  }
  const liars = [...deceived.map(({ address }) => address), ...others.filter(({ behaviour }) => liesBy.has(behaviour)).map(({ address }) => address)]
  const everybody = shuffled([...honest, ...deceived, ...others].map(({ address }) => address), random)
  t.equal(everybody.length, 30)

  const accused = new Set<string>()
  const banned = new Set<string>()
  const stream = new Writable({
    write (line: Buffer, _encoding, done) {
      const { peer, msg }: { peer?: string, msg?: string } = JSON.parse(line.toString())
      if (peer !== undefined) accused.add(peer)
      if (peer !== undefined && msg?.includes('banned') === true) banned.add(peer)
      done()
    }
  })
  const { url, app } = await startApp(t, { ENABLE_P2P: 'true', ENABLE_HTTP_FALLBACK: 'false', STATIC_PEERS: everybody.join(',') }, { level: 'warn', stream })
  const startedAt = performance.now()
  let firstMs = 0
  let received = 0
  let [lastAt, longestMs] = [startedAt, 0]
  await readChecked(`${url}/stream/proxy/${torrent.infohash}`, film, {
    start: 0,
    end: film.length - 1,
    signal: AbortSignal.timeout(90_000),
    onBytes: (count) => {
      const now = performance.now()
      if (received === 0) firstMs = now - startedAt
      else longestMs = Math.max(longestMs, now - lastAt)
      lastAt = now
      received += count
    }
  })
  t.equal(received, film.length, 'every byte came, and was right')
  tellFigure(t, 'bad swarm', `first byte ${Math.round(firstMs)} ms, ${Math.round(performance.now() - startedAt)} ms in all, longest silence ${Math.round(longestMs)} ms, ${banned.size} of ${liars.length} banned`)
  t.same([...accused].filter((peer) => !liars.includes(peer)), [], 'nobody else is accused')
  t.same([...banned].sort(), [...liars].sort(), 'each liar is banned')
  await until('the report counts them', () => app.swarm?.network.bans === liars.length)

  const lying = others.filter(({ address }) => liars.includes(address))
  const wires = lying.map(({ counts }) => counts.wires)
  const [liar] = lying
  if (liar === undefined) throw new Error('no liar')
  const port = app.swarm?.network.ports.tcp ?? 0
  for (const { address, peerId } of lying) t.equal(await knock(t, torrent, port, address.split(':')[0] ?? '', peerId), 'closed', `${address} does not get in`)
  const stranger = Buffer.from('-XX0001-a new peer!!').toString('hex')
  t.equal(await knock(t, torrent, port, '127.0.0.1', stranger), 'welcome', 'a newcomer at the address that honest peers share with liars does')
  t.same(lying.map(({ counts }) => counts.wires), wires, 'and nobody has dialled a liar again')
}, 150_000)
