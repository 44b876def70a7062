import { readAtScrape } from './read-at-scrape.ts'
import type { Registry } from 'prom-client'
import type { MirrorScore, MirrorScores } from '../download/mirror-scores.ts'
import type { Torrents } from '../torrent/torrents.ts'

export interface DownloadMetricsOptions {
  readonly registry: Registry
  readonly torrents: Pick<Torrents, 'list' | 'verifiedPieces'>
  readonly scores: MirrorScores
  /** Names of the mirrors that the operator configured. All others, which torrents and magnets name, are told of as one. */
  readonly mirrors: ReadonlySet<string>
}

const others = 'others'

export function downloadMetrics ({ registry, torrents, scores, mirrors }: DownloadMetricsOptions): void {
  /** For each configured mirror, and the others, what this makes of their scores; null: left out. */
  const byMirror = (figure: (scores: ReadonlyArray<Readonly<MirrorScore>>) => number | null): Array<[labels: string[], value: number]> => {
    const groups = new Map<string, Array<Readonly<MirrorScore>>>([...mirrors, others].map((name) => [name, []]))
    for (const [name, score] of scores.entries()) groups.get(mirrors.has(name) ? name : others)?.push(score)
    return [...groups].flatMap(([name, group]) => {
      const value = figure(group)
      return value === null ? [] : [[[name], value]]
    })
  }
  const labels = ['mirror']
  readAtScrape(registry, 'gauge', [
    { name: 'self_streme_torrents_running', help: 'Torrents at work, of MAX_TORRENTS.', read: () => torrents.list().length },
    { name: 'self_streme_mirrors', help: 'Mirrors of which something is known.', labels, read: () => byMirror((group) => group.length) },
    { name: 'self_streme_mirror_speed_bytes_per_second', help: 'What one connection to a mirror delivered; of the others the fastest.', labels, read: () => byMirror((group) => maxOf(group.flatMap(({ bytesPerSecond }) => bytesPerSecond ?? []))) },
    { name: 'self_streme_mirror_failures', help: 'Failed tries since a mirror last delivered; of the others all together.', labels, read: () => byMirror((group) => sumOf(group.map(({ failures }) => failures))) },
    { name: 'self_streme_mirror_lies', help: 'How often a mirror sent a wrong piece; of the others all together. It falls when one of them is forgotten.', labels, read: () => byMirror((group) => sumOf(group.map(({ lies }) => lies))) }
  ])
  readAtScrape(registry, 'counter', [
    { name: 'self_streme_pieces_verified_total', help: 'Pieces that came in and were right.', read: () => torrents.verifiedPieces },
    { name: 'self_streme_pieces_rejected_total', help: 'Pieces that mirrors sent and that were wrong.', labels: ['source'], read: () => [[['http-fallback'], scores.wrongPieces]] }
  ])
}

function sumOf (values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0)
}

function maxOf (values: readonly number[]): number | null {
  return values.length === 0 ? null : Math.max(...values)
}
