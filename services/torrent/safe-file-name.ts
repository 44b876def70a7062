import type { Metadata, TorrentFile } from './metadata.ts'

/**
 * With the infohash, a number where names collide and what others append, this stays below the 255 bytes that file
 * systems allow.
 */
const maxNameBytes = 200

/** Read before anything else is done: normalising a long run of combining marks takes time by its square. */
const maxCharactersRead = 1000

/** Controls, and marks that turn the direction of text, so that `exe.4pm` reads as `mp4.exe`. */
// eslint-disable-next-line no-control-regex
const invisible = /[\0-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g

/** Separators of any system, drive and stream marks, and wildcards. */
const forbidden = /[/\\:*?"<>|]/g

/** Windows opens the device whatever the extension, and whatever spaces stand before it. */
const device = /^(?:con|prn|aux|nul|clock\$|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)/i

const extension = /\.[a-z0-9]{1,15}$/i

/**
 * Makes of any text a name that is one file inside its directory on every system: no separators, controls or direction
 * marks, no `.` or `..`, no device names, no dots or spaces at the end; NFC; at most 200 bytes of UTF-8, of which the
 * extension is the last to go. What is left empty is called `unnamed`. A safe name comes back as it is.
 */
export function safeFileName (name: string): string {
  const read = name.length <= maxCharactersRead ? name : name.slice(0, maxCharactersRead - 100) + name.slice(-100)
  const clean = shortened(trimmed(read.toWellFormed().replace(invisible, '').normalize('NFC').replace(forbidden, '_')))
  return (device.test(clean) ? shortened(`_${clean}`) : clean) || 'unnamed'
}

/**
 * What the file is called in the download directory once it is finished: `{infohash}-{safe name}`, with ` ({index})` before
 * the extension where two files of the torrent would otherwise have one name on a file system that ignores case.
 */
export function storedFileName (infohash: string, file: TorrentFile, metadata: Metadata): string {
  let names = storedNames.get(metadata)
  if (names === undefined) {
    names = distinctNames(metadata.files)
    storedNames.set(metadata, names)
  }
  return `${infohash}-${names[file.index] ?? numbered(safeFileName(file.name), file.index)}`
}

/** A torrent may have 100,000 files, and each name depends on all the others. */
const storedNames = new WeakMap<Metadata, readonly string[]>()

/** Names by file index, no two of which are the same file. */
function distinctNames (files: readonly TorrentFile[]): readonly string[] {
  const names = files.map(file => safeFileName(file.name))
  const plain = new Map<string, number[]>()
  for (const [index, name] of names.entries()) {
    const key = caseless(name)
    const sharers = plain.get(key)
    if (sharers === undefined) plain.set(key, [index])
    else sharers.push(index)
  }
  const colliding = [...plain.values()].filter(indexes => indexes.length > 1).flat()
  // the list grows while it is walked: a numbered name may be what another file is called already
  for (const index of colliding) {
    const name = numbered(names[index] ?? '', index)
    names[index] = name
    const [other, ...more] = plain.get(caseless(name)) ?? []
    if (other !== undefined && more.length === 0) {
      plain.delete(caseless(name))
      colliding.push(other)
    }
  }
  return names
}

function numbered (name: string, index: number): string {
  const suffix = extension.exec(name)?.[0] ?? ''
  return `${name.slice(0, name.length - suffix.length)} (${index})${suffix}`
}

/** Upper case first: it is what NTFS compares, and it also makes one of `ß` and `SS`. */
function caseless (name: string): string {
  return name.toUpperCase().toLowerCase().normalize('NFC')
}

function shortened (name: string): string {
  if (Buffer.byteLength(name) <= maxNameBytes) return name
  const suffix = extension.exec(name)?.[0] ?? ''
  let room = maxNameBytes - suffix.length
  let stem = ''
  for (const character of name) {
    room -= Buffer.byteLength(character)
    if (room < 0) break
    stem += character
  }
  return trimmed(stem) + suffix
}

/** Windows drops dots and spaces at the end of a name; spaces at the start are only ever mistakes. */
function trimmed (name: string): string {
  return name.trimStart().replace(/[.\s]+$/, '')
}
