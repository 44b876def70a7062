// WebTorrent's own server, as its documentation starts it: what the swarm is measured against. A line on stdin is a
// magnet to add; once its metadata is there, the path of its first file is printed.
// node benchmarks/webtorrent-server.ts DIRECTORY tcp|utp
import { createInterface } from 'node:readline'
import WebTorrent from 'webtorrent'

const [directory = '.', transport = 'tcp'] = process.argv.slice(2)

// Alone with the transport: with both it dials a peer that has only TCP after 42 s.
const client = new WebTorrent({ utp: transport === 'utp', dht: false, lsd: false, natUpnp: false, natPmp: false, webSeeds: false })
const { server } = client.createServer()
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  console.log(`listening on port ${typeof address === 'object' ? address?.port : ''}`)
})
for await (const magnet of createInterface({ input: process.stdin })) {
  const torrent = client.add(magnet, { path: directory })
  torrent.once('ready', () => { console.log(`ready at ${torrent.files[0]?.streamURL}`) })
}
process.exit(0)
