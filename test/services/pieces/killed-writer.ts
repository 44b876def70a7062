import { PieceFiles } from '../../../services/pieces/piece-files.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { randomTorrent, seededRandom, shuffled } from './torrent.ts'

// A process that fills a store until it is killed. Arguments: the store's directory, the torrent's seed, a seed for the rest.
const [directory = '', torrentSeed, seed] = process.argv.slice(2)
const torrent = randomTorrent(seededRandom(Number(torrentSeed)))
const random = seededRandom(Number(seed))
const store = await PieceStore.open({ metadata: torrent.metadata, directory })
const swarm = new PieceFiles(store.geometry, store.layout, index => torrent.metadata.files[index]?.isPadding === true)
process.send?.('ready')
for (const index of shuffled(Array.from({ length: store.geometry.pieceCount }, (_, index) => index), random)) {
  const piece = store.geometry.piece(index)
  const file = torrent.metadata.files[random(torrent.metadata.files.length)]
  if (random(10) === 0 && file?.isPadding === false) await store.want(file.index)
  if (random(5) === 0) swarm.setLayout(store.layout)
  if (random(2) === 0) await store.write(piece, torrent.pieceBytes(index))
  else await store.markVerified(piece, await swarm.writePiece(piece, torrent.pieceBytes(index)))
  process.send?.(index)
  if (random(8) === 0) await store.flush()
}
await store.flush()
// Nothing is left to do: wait for the end.
setInterval(() => {}, 1000)
