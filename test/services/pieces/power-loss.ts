import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { StoredFiles } from '../../../services/cache/stored-files.ts'
import { silent } from '../../../services/log.ts'
import type { PieceIndex } from '../../../services/pieces/geometry.ts'
import { PieceFiles, isMissing } from '../../../services/pieces/piece-files.ts'
import { PieceStore } from '../../../services/pieces/piece-store.ts'
import { FailingDisk } from './failing-disk.ts'
import type { DiskState, Failure } from './failing-disk.ts'
import { allChecked, claimed, findWrong, kept, randomTorrent, seededRandom, shuffled } from './torrent.ts'
import type { MadeTorrent, Random } from './torrent.ts'

/** What was told to others at some moment, and has to be true ever after. */
type Word = { readonly moment: number } & (
  | { readonly kind: 'written', readonly pieces: readonly number[] }
  /** Of what was written before, only this is left: a store that is closed lets go of loose pieces. */
  | { readonly kind: 'left', readonly pieces: readonly number[] }
  | { readonly kind: 'saved', readonly pieces: readonly number[] }
  | { readonly kind: 'finished' | 'stored', readonly fileIndex: number }
)

/** What a failure left of the life before. */
interface Past {
  readonly torrent: MadeTorrent
  readonly state: DiskState
  /** They are on that disk. */
  readonly pieces: readonly number[]
}

interface Life {
  readonly disk: FailingDisk
  readonly words: readonly Word[]
}

export interface PowerLossCounts {
  lives: number
  operations: number
  failures: number
  /** Pieces that a store had after a failure, each compared with the original. */
  pieces: number
  /** Of them, those that it had without a hash. */
  believed: number
  /** Pieces that were on the disk by the store's own word, and were there. */
  promised: number
}

export interface PowerLossOptions {
  /** An empty directory for all of it. */
  readonly directory: string
  readonly seed: number
  /** So many lives of a store, each with a torrent of its own or in what a failure left of the one before. */
  readonly lives: number
  /** So many failures for each life, at random moments; 'all': at each moment. */
  readonly failures: number | 'all'
}

/**
 * Lets stores live on a disk whose every operation is recorded, and fails that disk at many moments of each life, by a
 * kill or by loss of power. What it left is opened: each piece that the new store has must be right, and all that was
 * promised must be there. Rejects with what went wrong, and the seed in it.
 */
export async function losePower ({ directory, seed, lives, failures }: PowerLossOptions): Promise<PowerLossCounts> {
  const counts: PowerLossCounts = { lives: 0, operations: 0, failures: 0, pieces: 0, believed: 0, promised: 0 }
  let before: Past | null = null
  for (let number = 0; number < lives; number++) {
    const random = seededRandom(seed * 1000 + number)
    const torrent: MadeTorrent = before?.torrent ?? randomTorrent(random)
    const root = join(directory, `${number}`)
    const life: Life = await live(root, torrent, before, random)
    counts.lives++
    counts.operations += life.disk.operationCount
    const moments = failures === 'all' ? Array.from({ length: life.disk.now + 1 }, (_, moment) => moment) : Array.from({ length: failures }, () => random(life.disk.now + 1))
    before = null
    for (const moment of moments) {
      const failure = (['killed', 'powerless', 'powerless', 'lying'] as const)[random(4)] ?? 'killed'
      const state = stateAt(life.disk, moment, failure, random)
      const at = join(directory, `${number}-${moment}`)
      let pieces: readonly number[]
      try {
        pieces = await onDisk(at, state, undefined, machine =>
          lookAtWhatIsLeft(machine, torrent, failure === 'lying' ? [] : wordsAt(life, moment), failure, random, counts))
      } catch (error) {
        throw new Error(`seed ${seed}, life ${number}, ${failure} at moment ${moment}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
      }
      await rm(at, { recursive: true, force: true })
      counts.failures++
      // Every other torrent goes on from one of its failures.
      if (number % 2 === 0 && random(moments.length) === 0) before = { torrent, state, pieces }
    }
    await rm(root, { recursive: true, force: true })
  }
  return counts
}

/**
 * What is left after a failure. A disk lies about unfinished files only, and only where the store was not closed: a file
 * that was promoted, or closed as it is, is believed.
 */
function stateAt (disk: FailingDisk, moment: number, failure: Failure | 'lying', random: Random): DiskState {
  if (failure !== 'lying') return disk.stateAt(moment, failure, random)
  let isClosed = false
  const state = disk.stateAt(moment, 'powerless', random, path => {
    isClosed ||= path.endsWith('/closed')
    return path.includes('/partial/')
  })
  return isClosed ? disk.stateAt(moment, 'powerless', random) : state
}

function wordsAt ({ words }: Life, moment: number): readonly Word[] {
  const said = words.filter(word => word.moment <= moment)
  const lastLeft = said.findLastIndex(({ kind }) => kind === 'left')
  return said.filter(({ kind }, index) => kind !== 'written' || index > lastLeft)
}

/** A machine with a disk that is recorded. */
interface Machine {
  readonly disk: FailingDisk
  /** All that was opened on it. */
  readonly opened: Array<{ close (): Promise<void> }>
}

/** Records what `work` does in a directory that holds `state`. If it fails, what it opened is closed, so that the process can end. */
async function onDisk<T> (root: string, state: DiskState | undefined, pause: (() => Promise<void>) | undefined, work: (machine: Machine) => Promise<T>): Promise<T> {
  const disk = await FailingDisk.begin(root, state, pause)
  const opened: Machine['opened'] = []
  try {
    const result = await work({ disk, opened })
    await disk.end()
    return result
  } finally {
    // Most of it is closed already, which closes nothing twice.
    await Promise.allSettled(opened.map(each => each.close()))
    disk.stop()
  }
}

/** Opens what a server opens for a torrent. */
async function openOn ({ disk: { root }, opened }: Machine, torrent: MadeTorrent, options: { readonly checkDelayMs: number }): Promise<{ store: PieceStore, stored: StoredFiles }> {
  const stored = await StoredFiles.open({ directory: root, log: silent })
  opened.push(stored)
  const promoted = new Map<number, string>()
  for (const entry of stored.list()) {
    if (await stored.check(entry) !== null) promoted.set(entry.fileIndex, join(root, entry.path))
  }
  const store = await PieceStore.open({ metadata: torrent.metadata, directory: join(root, '.self-streme', 'partial', torrent.metadata.infohash), promoted, ...options })
  opened.push(store)
  return { store, stored }
}

/** A random life of a store: filled by both ways, wanted, flushed, promoted, closed and opened again. */
async function live (root: string, torrent: MadeTorrent, past: Past | null, random: Random): Promise<Life> {
  return await onDisk(root, past?.state, pauses(seededRandom(random(2 ** 31))), machine => liveOn(machine, torrent, past, random))
}

/** A disk that takes now longer, now shorter: what else is under way comes before or after. */
function pauses (random: Random): () => Promise<void> {
  return async () => {
    for (let turns = random(2) === 0 ? 0 : random(60); turns > 0; turns--) await nextTurn()
  }
}

async function liveOn (machine: Machine, torrent: MadeTorrent, past: Past | null, random: Random): Promise<Life> {
  const { disk } = machine
  const words: Word[] = [{ kind: 'saved', pieces: past?.pieces ?? [], moment: 0 }]
  const { metadata } = torrent
  const real = metadata.files.filter(({ isPadding }) => !isPadding)
  let { store, stored } = await openOn(machine, torrent, { checkDelayMs: random(2) === 0 ? 0 : 3_600_000 })
  const underWay: Array<Promise<unknown>> = []
  const moving: Array<Promise<unknown>> = []
  /** Whoever waits for them later hears of it when one fails. */
  const later = (list: Array<Promise<unknown>>, work: Promise<unknown>) => {
    work.catch(() => {})
    list.push(work)
  }
  const listen = () => {
    store.on('finished', fileIndex => {
      words.push({ kind: 'finished', fileIndex, moment: disk.now })
      later(moving, promote(disk.root, store, stored, fileIndex).then(() => { words.push({ kind: 'stored', fileIndex, moment: disk.now }) }))
    })
  }
  listen()
  let swarm = swarmOn(machine, store)
  const flush = async () => {
    const pieces = kept(store)
    await store.flush()
    words.push({ kind: 'saved', pieces, moment: disk.now })
  }
  const wanted = shuffled(real, random).slice(0, 1 + random(4))
  for (const index of shuffled(Array.from({ length: metadata.pieceCount }, (_, index) => index), random).slice(0, 30)) {
    const piece = store.geometry.piece(index)
    if (random(4) === 0) await Promise.resolve(wanted.pop()).then(file => file === undefined ? undefined : store.want(file.index))
    if (random(4) === 0) swarm.setLayout(store.layout)
    const writing = (random(2) === 0 ? store.write(piece, torrent.pieceBytes(index)) : writeAsSwarm(store, swarm, piece, torrent.pieceBytes(index)))
      .then(isWritten => { if (isWritten) words.push({ kind: 'written', pieces: [index], moment: disk.now }) })
    if (random(2) === 0) await writing
    else later(underWay, writing)
    if (random(6) === 0) later(underWay, flush())
    if (random(12) === 0) await allChecked(store)
    if (random(20) === 0) {
      await Promise.all(underWay.splice(0))
      await flush()
      await Promise.all(moving.splice(0))
      words.push({ kind: 'left', pieces: kept(store), moment: disk.now })
      await swarm.close()
      await store.close()
      await stored.close()
      ;({ store, stored } = await openOn(machine, torrent, { checkDelayMs: 0 }))
      listen()
      swarm = swarmOn(machine, store)
    }
  }
  for (const { index } of wanted) await store.want(index)
  await Promise.all(underWay)
  await flush()
  await Promise.all(moving)
  await swarm.close()
  await store.close()
  await stored.close()
  return { disk, words }
}

function swarmOn ({ opened }: Machine, store: PieceStore): PieceFiles {
  const swarm = new PieceFiles(store.geometry, store.layout, index => store.metadata.files[index]?.isPadding === true)
  opened.push(swarm)
  store.writers.add(async () => {
    swarm.setLayout(store.layout)
    await swarm.settled()
  })
  return swarm
}

async function writeAsSwarm (store: PieceStore, swarm: PieceFiles, piece: PieceIndex, bytes: Buffer): Promise<boolean> {
  let version: number | null = null
  while (version === null) {
    version = await swarm.writePiece(piece, bytes).catch(async (error: unknown) => {
      if (!(error instanceof Error) || !isMissing(error.cause)) throw error
      // A file has been promoted, or is just now: then the layout follows.
      swarm.setLayout(store.layout)
      return await nextTurn(null)
    })
  }
  return await store.markVerified(piece, version)
}

async function promote (root: string, store: PieceStore, stored: StoredFiles, fileIndex: number): Promise<void> {
  const { infohash, files } = store.metadata
  const from = new Map(store.layout.files).get(fileIndex)
  const file = files[fileIndex]
  if (from === undefined || file === undefined) throw new Error(`file ${fileIndex} is finished and nowhere`)
  const path = `${infohash}-${file.name}`
  await stored.place({ infohash, fileIndex, path, lengthBytes: file.lengthBytes, name: file.name, isDefault: false }, from, () => store.promote(fileIndex, join(root, path)))
}

/** Opens it, holds it to all that was promised, and says which pieces are there. */
async function lookAtWhatIsLeft (machine: Machine, torrent: MadeTorrent, words: readonly Word[], failure: Failure | 'lying', random: Random, counts: PowerLossCounts): Promise<readonly number[]> {
  const { store, stored } = await openOn(machine, torrent, { checkDelayMs: 3_600_000 })
  const wrong = async (what: string) => {
    const found = await findWrong(store, torrent)
    if (found !== null) throw new Error(`${what}: ${found}`)
  }
  counts.believed += claimed(store).length
  await wrong('at once')
  await allChecked(store)
  await wrong('checked')
  const pieces = claimed(store)
  counts.pieces += pieces.length
  const mustHave = new Set(words.flatMap(word => word.kind === 'saved' || ((word.kind === 'written' || word.kind === 'left') && failure === 'killed') ? word.pieces : []))
  const promised = kept(store, [...mustHave])
  // What was saved was no loose piece, so it is none now.
  const lost = [...new Set([...promised, ...words.flatMap(word => word.kind === 'saved' ? word.pieces : [])])].filter(index => !store.has(store.geometry.piece(index)))
  if (lost.length > 0) throw new Error(`pieces ${lost} would be fetched again`)
  counts.promised += promised.length
  for (const word of words) {
    if (word.kind === 'stored' && await stored.find(torrent.metadata.infohash, word.fileIndex) === null) throw new Error(`stored file ${word.fileIndex} is not there`)
    if (word.kind === 'stored' || word.kind === 'finished') {
      await store.want(word.fileIndex)
      if (!store.isFinished(word.fileIndex)) throw new Error(`file ${word.fileIndex} was finished`)
    }
  }
  // And it goes on from there.
  if (random(4) === 0) {
    for (const file of torrent.metadata.files) if (!file.isPadding) await store.want(file.index)
    for (let index = 0; index < torrent.metadata.pieceCount; index++) await store.write(store.geometry.piece(index), torrent.pieceBytes(index))
    await wrong('filled')
    await store.close()
    const again = await openOn(machine, torrent, { checkDelayMs: 3_600_000 })
    const found = await findWrong(again.store, torrent)
    if (found !== null || again.store.verifiedCount !== torrent.metadata.pieceCount) throw new Error(`filled and closed: ${found ?? 'not all is believed'}`)
    await again.store.close()
    await again.stored.close()
  } else {
    await store.close()
  }
  await stored.close()
  return pieces
}
