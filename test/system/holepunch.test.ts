import t from 'tap'
import { startLab } from '../lab.ts'
import { askOn, startSeederOn, startServerOn, swarmReadyOn, torrentOn, torrentPort } from '../lab-swarm.ts'
import { makeTorrent, testBytes, testWith, until } from '../testnet.ts'

testWith(t, 'our server introduces two libtorrent peers behind port restricted NATs to each other', async (t) => {
  const film = await makeTorrent({ 'relay.mkv': testBytes(2_000_000, 'relay') }, { pieceLength: 262_144 })
  const lab = await startLab(t)
  const host = await lab.host()
  // It gives next to nothing, so that the leech needs the seeder.
  await startServerOn(t, host, { UPLOAD_LIMIT: '10', DOWNLOAD_LIMIT: '10', HTTP_ALLOW_PRIVATE_NETWORKS: 'false' })
  const peers = [`${host.address}:${torrentPort}`]
  const [home, otherHome] = [await lab.host({ nat: 'port restricted' }), await lab.host({ nat: 'port restricted' })]
  await swarmReadyOn(t, host)
  host.spawn('curl', ['-s', '-o', '/dev/null', `http://127.0.0.1:11470/stream/proxy/${film.infohash}`])
  await torrentOn(t, host, film.infohash)
  // One that dialled, too, might get in without any introduction.
  const seeder = await startSeederOn(t, home, [film], { peers, waitsAsSeed: true, connectTimeoutSeconds: 2 })
  await until('we have the seeder', async () => (await seeder.counts()).connected.length === 1)
  // From another port than the seeder's: of two libtorrents with the same each may drop the connection that the other keeps.
  const leech = await startSeederOn(t, otherHome, [film], { peers, isLeech: true, connectTimeoutSeconds: 2, port: 7_000 })
  await until('the leech is whole', async () => (await leech.counts()).isSeeding, 60_000)
  const { uploaded } = await seeder.counts()
  t.ok(uploaded > 1_500_000, `${uploaded} bytes from the seeder`)
  const { body } = await askOn(t, host, '/api/network', 5)
  const { data } = JSON.parse(body.toString())
  t.ok(data.holePunches.relayed >= 1, JSON.stringify(data.holePunches))
})

testWith(t, 'a good connection survives our own dial to the same peer', async (t) => {
  const film = await makeTorrent({ 'survives.mkv': testBytes(2_000_000, 'survives') }, { pieceLength: 262_144 })
  const lab = await startLab(t)
  const [host, home] = [await lab.host(), await lab.host({ nat: 'port restricted' })]
  // Its NAT drops our dial, which is still under way when it dials us.
  await startServerOn(t, host, { HTTP_ALLOW_PRIVATE_NETWORKS: 'false', STATIC_PEERS: `${home.publicAddress}:${torrentPort}` })
  await swarmReadyOn(t, host)
  const watching = askOn(t, host, `/stream/proxy/${film.infohash}`, 60)
  await torrentOn(t, host, film.infohash)
  const seeder = await startSeederOn(t, home, [film], { peers: [`${host.address}:${torrentPort}`], uploadLimit: 250_000, keepsRedundant: true })
  await until('we have the seeder', async () => (await seeder.counts()).connected.length > 0)
  const { status, body } = await watching
  t.ok(status === 200 && film.files[0]?.bytes.equals(body), `${status}, ${body.length} bytes`)
  await until('one connection is left', async () => (await seeder.counts()).connected.length === 1)
  const { uploaded } = await seeder.counts()
  t.ok(uploaded < 2_400_000, `${uploaded} bytes for ${body.length}`)
})
