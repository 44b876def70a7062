import { CodedError } from '../errors.ts'
import { episodesOf, fileOfEpisode } from './library.ts'
import type { Metadata, TorrentFile } from '../torrent/metadata.ts'

/** What somebody wants to see of a torrent whose files he does not know. */
export interface Wish {
  /** Of a series; the season may be unknown. */
  readonly episode: { readonly season: number | null, readonly episode: number } | null
  /** As another addon has named the file. */
  readonly fileName: string | null
}

const MAX_NAME_LENGTH = 300

/** The query that carries a wish in a stream's address: `episode=1:2`, without a season `episode=:2`, and `fileName`. */
export function wishQuery ({ episode, fileName }: Wish): string[] {
  return [
    ...episode === null ? [] : [`episode=${episode.season ?? ''}:${episode.episode}`],
    ...fileName === null ? [] : [`fileName=${encodeURIComponent(fileName.toWellFormed().slice(0, MAX_NAME_LENGTH).toWellFormed())}`]
  ]
}

/** null: it wishes for nothing in particular; what is no episode is none. */
export function parseWish ({ episode = '', fileName = '' }: { readonly episode?: string | undefined, readonly fileName?: string | undefined }): Wish | null {
  const [, season, number] = /^(\d{1,4})?:(\d{1,5})$/.exec(episode) ?? []
  if (number === undefined && fileName === '') return null
  return { episode: number === undefined ? null : { season: season === undefined ? null : Number(season), episode: Number(number) }, fileName: fileName === '' ? null : fileName }
}

/**
 * The file of this name, else the episode, the largest where there are several; null: it is not told which that is. Throws
 * FILE_INDEX where the torrent has episodes, and not this one.
 */
export function wishedFile (metadata: Pick<Metadata, 'files'>, { episode, fileName }: Wish): TorrentFile | null {
  const named = fileName === null ? [] : metadata.files.filter(({ isPadding, name }) => !isPadding && name.slice(0, MAX_NAME_LENGTH) === fileName.slice(0, MAX_NAME_LENGTH))
  const [largest] = named.sort((a, b) => b.lengthBytes - a.lengthBytes)
  if (largest !== undefined || episode === null) return largest ?? null
  const file = fileOfEpisode(metadata, episode)
  // A single one may be counted otherwise, and is what was meant.
  if (file === null && (episodesOf(metadata)?.length ?? 0) > 1) throw new CodedError('FILE_INDEX', `this torrent has no episode ${episode.season ?? ''}:${episode.episode}`)
  return file
}
