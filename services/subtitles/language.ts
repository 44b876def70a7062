/** What the name of a subtitle file says of it. */
export interface NamedLanguage {
  /** BCP 47: `en`, `pt-BR`, `zh-Hans`; null: the name does not say. */
  readonly language: string | null
  /** Only what is spoken in another language than the film's. */
  readonly isForced: boolean
  /** For the deaf and hard of hearing. */
  readonly isHearingImpaired: boolean
}

const forcedWords = new Set(['forced', 'foreign'])
const hearingWords = new Set(['sdh', 'cc', 'hi', 'hoh'])
/** Say nothing of the language. */
const idleWords = new Set(['full', 'default', 'sub', 'subs', 'subtitle', 'subtitles', 'track', 'utf', 'utf8', '8', 'dialogue', 'signs', 'songs'])

/** What people call languages, where neither ISO 639 nor the language's name does. */
const habits: ReadonlyMap<string, string> = new Map([
  ['chs', 'zh-Hans'], ['sc', 'zh-Hans'], ['gb', 'zh-Hans'], ['cht', 'zh-Hant'], ['tc', 'zh-Hant'], ['big5', 'zh-Hant'],
  ['pob', 'pt-BR'], ['pb', 'pt-BR'], ['ptbr', 'pt-BR'], ['brazilian', 'pt-BR'], ['latino', 'es-419'], ['lat', 'es-419'],
  ['castellano', 'es-ES'], ['castilian', 'es-ES'], ['norwegian', 'no'], ['mandarin', 'zh'], ['cantonese', 'yue'], ['farsi', 'fa'], ['flemish', 'nl-BE'], ['filipino', 'fil'], ['scc', 'sr'], ['hrv', 'hr']
])

/** How a language is told from its sisters: `pt-BR`, `Chinese (Traditional)`, `Spanish (Latin American)`. */
const variants: ReadonlyMap<string, Readonly<Record<string, string>>> = new Map(Object.entries({
  zh: { simplified: 'zh-Hans', hans: 'zh-Hans', cn: 'zh-Hans', sg: 'zh-Hans', traditional: 'zh-Hant', hant: 'zh-Hant', tw: 'zh-Hant', hk: 'zh-HK' },
  pt: { br: 'pt-BR', brazil: 'pt-BR', brazilian: 'pt-BR', pt: 'pt-PT', portugal: 'pt-PT', european: 'pt-PT' },
  es: { latin: 'es-419', latino: 'es-419', latinamerican: 'es-419', american: 'es-419', 419: 'es-419', la: 'es-419', mx: 'es-MX', es: 'es-ES', spain: 'es-ES', european: 'es-ES', castilian: 'es-ES' },
  en: { us: 'en-US', gb: 'en-GB', uk: 'en-GB', au: 'en-AU', american: 'en-US', british: 'en-GB' },
  fr: { ca: 'fr-CA', fr: 'fr-FR', canadian: 'fr-CA', france: 'fr-FR' },
  sr: { latn: 'sr-Latn', latin: 'sr-Latn', cyrl: 'sr-Cyrl', cyrillic: 'sr-Cyrl' }
}))

/** More words than this are a title, not what is said of the subtitles. */
const WORDS_LOOKED_AT = 5
const MAX_NAME_LENGTH = 1000

/**
 * The language and kind that a subtitle file's name tells. `suffix` is what its name has after that of its video, without
 * the extension; null where the name does not begin like a video's: then only its last words count, and short codes only
 * where nothing stands before them but a number, or an episode, a year or the like does.
 */
export function namedLanguage (stem: string, suffix: string | null): NamedLanguage {
  const words = (suffix ?? stem).slice(-MAX_NAME_LENGTH).normalize('NFC').split(/[^\p{L}\p{M}\p{N}]+/u).filter((word) => word !== '')
  let isForced = false
  let isHearingImpaired = false
  const rest: string[] = []
  for (const word of words.slice(-WORDS_LOOKED_AT).reverse()) {
    const lower = word.toLowerCase()
    if (forcedWords.has(lower)) isForced = true
    else if (hearingWords.has(lower) && !(lower === 'hi' && words.length === 1)) isHearingImpaired = true
    else if (!idleWords.has(lower)) rest.unshift(word)
  }
  let language = languageAtEnd(rest, suffix !== null)
  // `Movie.hi.srt` is Hindi, `Movie.en.hi.srt` English for the deaf.
  if (language === null && isHearingImpaired && suffix !== null && words.at(-1)?.toLowerCase() === 'hi') {
    language = 'hi'
    isHearingImpaired = false
  }
  return { language, isForced, isHearingImpaired }
}

/** The language that the last words name, the longest reading first: `Brazilian Portuguese`, `pt BR`, `Spanish Latin American`, `heb`. */
function languageAtEnd (words: readonly string[], isSuffix: boolean): string | null {
  for (let end = words.length; end > Math.max(0, words.length - 3); end--) {
    for (let begin = Math.max(0, end - 3); begin < end; begin++) {
      for (let middle = end; middle > begin; middle--) {
        const language = languageOfWords(words.slice(begin, middle), isSuffix || isCodePlace(words, begin))
        if (language === null) continue
        if (middle === end) return language
        const variant = variants.get(language)?.[words.slice(middle, end).join('').toLowerCase()]
        if (variant !== undefined) return variant
      }
    }
  }
  return null
}

/** `2_eng`, `en`, `Show.1x02.eng`: not the last word of a title. */
function isCodePlace (words: readonly string[], begin: number): boolean {
  const word = words[begin] ?? ''
  const before = words.slice(0, begin)
  if (word === word.toLowerCase() && before.some((each) => /\d{2}/.test(each))) return true
  return (word === word.toLowerCase() || word === word.toUpperCase()) && before.every((each) => /^\d+$/.test(each))
}

function languageOfWords (words: readonly string[], mayBeCode: boolean): string | null {
  const text = words.join(' ').toLowerCase()
  const named = languagesByName().get(text)
  if (named !== undefined) return named
  if (words.length !== 1 || !mayBeCode) return null
  return habits.get(text) ?? languageOfCode(text)
}

/** ISO 639-1 and 639-2, both sets of the latter: `en`, `eng`, `fre`, `fra`. */
function languageOfCode (code: string): string | null {
  if (!/^[a-z]{2,3}$/.test(code)) return null
  const [canonical = code] = Intl.getCanonicalLocales(code)
  return englishNames.of(canonical) === undefined ? null : canonical
}

const englishNames = new Intl.DisplayNames('en', { type: 'language', fallback: 'none' })

let byName: ReadonlyMap<string, string> | null = null

/** Each language's name in English and in itself, in lower case. Made once, from what the runtime knows: 75 ms. */
function languagesByName (): ReadonlyMap<string, string> {
  if (byName !== null) return byName
  const names = new Map([...habits].filter(([name]) => name.length > 3))
  const letters = [...'abcdefghijklmnopqrstuvwxyz']
  for (const code of letters.flatMap((first) => letters.map((second) => first + second))) {
    const name = englishNames.of(code)
    if (name === undefined) continue
    const [canonical = code] = Intl.getCanonicalLocales(code)
    const own = new Intl.DisplayNames(code, { type: 'language', fallback: 'none' }).of(code)
    for (const each of [name, own]) if (each !== undefined) names.set(each.toLowerCase().normalize('NFC'), canonical)
  }
  for (const [language, words] of variants) {
    const name = englishNames.of(language)?.toLowerCase() ?? language
    for (const [word, variant] of Object.entries(words)) if (word.length > 3) names.set(`${word} ${name}`, variant)
  }
  names.set('latin american spanish', 'es-419')
  byName = names
  return names
}
