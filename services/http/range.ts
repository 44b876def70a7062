import type { ByteRange } from '../pieces/geometry.ts'
import { parseList } from './list.ts'

/** More specs than this are not even read: no player sends them, and a header bomb must cost nothing. */
const maxSpecs = 100

/** More parts than this are answered with the whole file (RFC 9110 section 14.2 lets a server ignore Range). */
const maxRanges = 10

/** About what one more part costs in `multipart/byteranges`; a smaller gap is cheaper to send than to skip. */
const partOverheadBytes = 80

/** One element of a Range field before the length of the file is known. */
type RangeSpec = { readonly first: number, readonly last: number } | { readonly suffix: number }

/**
 * What a Range field asks of a representation of this length (RFC 9110 section 14.1.2 and 14.2), in the order in which
 * the client asked; ranges that overlap or nearly touch are joined.
 * null: ignore the field and send the whole representation (absent, another unit, malformed, too many ranges).
 * 'unsatisfiable': nothing it asks for exists (416).
 */
export function parseRange (header: string | undefined, lengthBytes: number): ByteRange[] | 'unsatisfiable' | null {
  const specs = parseSpecs(header)
  if (specs === null) return null
  const ranges = specs.map(spec => locate(spec, lengthBytes)).filter(range => range !== null)
  if (ranges.length === 0) return 'unsatisfiable'
  const joined = join(ranges)
  return joined.length > maxRanges ? null : joined
}

/**
 * Where a client that sends this Range field wants to begin, for as long as nobody knows the file's length: `start`
 * counts from the beginning of the file, `last` from its end. Anything that parseRange ignores begins at 0.
 */
export function parseRangeHead (header: string | undefined): { start: number } | { last: number } {
  const spec = parseSpecs(header)?.find(spec => !('suffix' in spec) || spec.suffix > 0)
  if (spec === undefined) return { start: 0 }
  return 'suffix' in spec ? { last: spec.suffix } : { start: spec.first }
}

function parseSpecs (header: string | undefined): RangeSpec[] | null {
  if (header === undefined || !/^bytes=/i.test(header)) return null
  const elements = parseList(header.slice('bytes='.length), /\d+-\d*|-\d+/, maxSpecs)
  if (elements === null || elements.length === 0) return null
  const specs: RangeSpec[] = []
  for (const element of elements) {
    const [first = '', last = ''] = element.split('-')
    if (first === '') {
      specs.push({ suffix: toPosition(last) })
      continue
    }
    const spec = { first: toPosition(first), last: last === '' ? Number.MAX_SAFE_INTEGER : toPosition(last) }
    if (spec.last < spec.first) return null
    specs.push(spec)
  }
  return specs
}

/** Digits may name any number; past 2^53 only "very large" is left of it, and no file is that long. */
function toPosition (digits: string): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER)
}

/** The bytes that a spec selects; null when it selects none. */
function locate (spec: RangeSpec, lengthBytes: number): ByteRange | null {
  const start = 'suffix' in spec ? Math.max(0, lengthBytes - spec.suffix) : spec.first
  const end = 'suffix' in spec ? lengthBytes - 1 : Math.min(spec.last, lengthBytes - 1)
  return start > end ? null : { start, end }
}

/** Joins what overlaps or nearly touches; a joined range stands where the first of its members was asked for. */
function join (ranges: ByteRange[]): ByteRange[] {
  const joined: Array<{ start: number, end: number, order: number }> = []
  const sorted = ranges.map((range, order) => ({ ...range, order })).sort((a, b) => a.start - b.start)
  for (const range of sorted) {
    const previous = joined.at(-1)
    if (previous !== undefined && range.start - (previous.end + 1) < partOverheadBytes) {
      previous.end = Math.max(previous.end, range.end)
      previous.order = Math.min(previous.order, range.order)
    } else {
      joined.push(range)
    }
  }
  return joined.sort((a, b) => a.order - b.order).map(({ start, end }) => ({ start, end }))
}
