import { isUtf8 } from 'node:buffer'
import { analyse } from 'chardet'

/** A text, and the encoding that it was in, by its WHATWG name. */
export interface Decoded {
  readonly text: string
  readonly encoding: string
}

/** Of the lines that are not plain ASCII so much is looked at: it is plenty, and costs 10 ms. */
const SAMPLE_BYTES = 64 * 1024

/** What ISO 8859 was on paper was Windows' own in subtitle files; those are its supersets, but for letters nobody used. */
const windowsOf: ReadonlyMap<string, string> = new Map([
  ['ISO-8859-1', 'windows-1252'], ['ISO-8859-2', 'windows-1250'], ['ISO-8859-5', 'windows-1251'], ['ISO-8859-6', 'windows-1256'],
  ['ISO-8859-7', 'windows-1253'], ['ISO-8859-8', 'windows-1255'], ['ISO-8859-9', 'windows-1254'], ['ASCII', 'windows-1252']
])

/** What a language was written in before Unicode, by its subtag (and script, where that decides). */
const usualOf: ReadonlyMap<string, string> = new Map(Object.entries({
  'windows-1255': ['he', 'yi'],
  'windows-1256': ['ar', 'fa', 'ur'],
  'windows-1251': ['ru', 'uk', 'be', 'bg', 'mk', 'sr-Cyrl'],
  'windows-1253': ['el'],
  'windows-1254': ['tr', 'az'],
  'windows-1250': ['pl', 'cs', 'sk', 'hu', 'sl', 'hr', 'bs', 'ro', 'sr'],
  'windows-1257': ['et', 'lv', 'lt'],
  'windows-1258': ['vi'],
  'windows-874': ['th'],
  gb18030: ['zh', 'zh-Hans'],
  big5: ['zh-Hant', 'zh-HK'],
  shift_jis: ['ja'],
  'euc-kr': ['ko']
}).flatMap(([encoding, languages]) => languages.map((language) => [language, encoding] as const)))

/**
 * The text of a subtitle file, without its byte order mark. UTF-8 and UTF-16 are known for certain; other encodings are
 * guessed from how often their letters come (Hebrew, Arabic, Cyrillic, Greek, Turkish, Central European, Chinese,
 * Japanese, Korean, Thai; else Western European); of those that are possible the one of `language` (BCP 47) is taken,
 * where the file's name told that. Takes any bytes, in linear time.
 */
export function decodeText (bytes: Uint8Array, language: string | null = null): Decoded {
  const encoding = encodingOf(bytes, language)
  return { text: new TextDecoder(encoding).decode(bytes), encoding }
}

/** The encoding of a text, by its WHATWG name. */
export function encodingOf (bytes: Uint8Array, language: string | null = null): string {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return 'utf-16le'
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return 'utf-16be'
  const unmarked = unmarkedUtf16(bytes)
  if (unmarked !== null) return unmarked
  if (isUtf8(bytes)) return 'utf-8'
  const possible = analyse(sampleOf(bytes)).map(({ name }) => (windowsOf.get(name) ?? name).toLowerCase()).filter(isDecodable)
  const usual = language === null ? undefined : usualOf.get(language) ?? usualOf.get(language.split('-')[0] ?? '')
  return (usual !== undefined && possible.includes(usual) ? usual : possible[0]) ?? 'windows-1252'
}

/** UTF-16 without a mark: the digits and line ends that any subtitle file has are every second byte zero. */
function unmarkedUtf16 (bytes: Uint8Array): 'utf-16le' | 'utf-16be' | null {
  const zeros = [0, 0]
  const length = Math.min(bytes.length, 4096)
  for (let i = 0; i < length; i++) if (bytes[i] === 0) zeros[i & 1] = (zeros[i & 1] ?? 0) + 1
  const [even = 0, odd = 0] = zeros
  const most = length / 8
  if (odd > most && even < odd / 8) return 'utf-16le'
  return even > most && odd < even / 8 ? 'utf-16be' : null
}

/** The lines that have a byte beyond ASCII: digits and times say nothing of the language. */
function sampleOf (bytes: Uint8Array): Uint8Array {
  const sample = new Uint8Array(Math.min(bytes.length, SAMPLE_BYTES))
  let taken = 0
  for (let start = 0; start < bytes.length && taken < sample.length;) {
    const newline = bytes.indexOf(10, start)
    const end = newline === -1 ? bytes.length : newline + 1
    const line = bytes.subarray(start, Math.min(end, start + sample.length - taken))
    if (line.some((byte) => byte >= 0x80)) {
      sample.set(line, taken)
      taken += line.length
    }
    start = end
  }
  return sample.subarray(0, taken)
}

function isDecodable (encoding: string): boolean {
  try {
    return new TextDecoder(encoding).encoding !== 'replacement'
  } catch {
    return false
  }
}
