import t from 'tap'
import { startLab } from '../lab.ts'
import { askOn, startSeederOn, startServerOn } from '../lab-swarm.ts'
import { makeTorrent, testBytes, testWith } from '../testnet.ts'

testWith(t, 'a libtorrent seeder in the same network that nobody names: local discovery finds it', async (t) => {
  const film = await makeTorrent({ 'film.mkv': testBytes(1_000_000, 'lsd') }, { pieceLength: 65_536 })
  const lab = await startLab(t)
  const host = await lab.host({ nat: 'port restricted' })
  if (host.gateway === null) throw new Error('no gateway')
  await startServerOn(t, host, { HTTP_ALLOW_PRIVATE_NETWORKS: 'false' })
  await startSeederOn(t, host.gateway, [film], { address: host.address.replace(/\d+$/, '1'), isLocal: true })
  const answer = await askOn(t, host, `/stream/proxy/${film.infohash}`, 40)
  t.match(answer.source, /^(?:p2p|cache)$/)
  t.ok(film.files[0]?.bytes.equals(answer.body), `${answer.body.length} bytes`)
  t.comment(`first byte after ${answer.firstByte} s`)
}, 70_000)
