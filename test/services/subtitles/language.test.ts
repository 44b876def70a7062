import t from 'tap'
import { namedLanguage } from '../../../services/subtitles/language.ts'

t.test('what stands after the name of the video tells the language', (t) => {
  for (const [suffix, language] of [
    ['.en', 'en'], ['.eng', 'en'], ['.English', 'en'], ['.heb', 'he'], ['.iw', 'he'], ['.Hebrew', 'he'], ['.עברית', 'he'],
    ['.fre', 'fr'], ['.fra', 'fr'], ['.Français', 'fr'], ['.ger', 'de'], ['.ara', 'ar'], ['.العربية', 'ar'], ['.chi', 'zh'],
    ['.pt-BR', 'pt-BR'], ['.pob', 'pt-BR'], ['.Brazilian Portuguese', 'pt-BR'], ['.Portuguese (Brazilian)', 'pt-BR'],
    ['.zh-Hans', 'zh-Hans'], ['.chs', 'zh-Hans'], ['.zh-TW', 'zh-Hant'], ['.Chinese.Traditional', 'zh-Hant'],
    ['.Spanish (Latin American)', 'es-419'], ['.Latin American Spanish', 'es-419'], ['.es-419', 'es-419'], ['.it', 'it'], ['.hi', 'hi'],
    ['', null], ['.xyz', null], ['.1', null], ['.web', null], ['.2', null]
  ] as const) t.equal(namedLanguage(`Movie.2020${suffix}`, suffix).language, language, suffix)
  t.end()
})

t.test('forced, and for the deaf', (t) => {
  t.same(namedLanguage('', '.heb.forced'), { language: 'he', isForced: true, isHearingImpaired: false })
  t.same(namedLanguage('', '.forced.heb'), { language: 'he', isForced: true, isHearingImpaired: false })
  t.same(namedLanguage('', '.en.sdh'), { language: 'en', isForced: false, isHearingImpaired: true })
  t.same(namedLanguage('', '.en[cc]'), { language: 'en', isForced: false, isHearingImpaired: true })
  t.same(namedLanguage('', '.en.hi'), { language: 'en', isForced: false, isHearingImpaired: true })
  t.same(namedLanguage('', '.forced'), { language: null, isForced: true, isHearingImpaired: false })
  t.end()
})

t.test('a name of its own tells by its last words, and a title is not taken for a code', (t) => {
  for (const [stem, language] of [
    ['2_English', 'en'], ['English', 'en'], ['en', 'en'], ['EN', 'en'], ['3_eng', 'en'], ['12_Brazilian Portuguese', 'pt-BR'], ['SDH.eng.HI', 'en'],
    ['Some.Release.1080p.Hebrew', 'he'], ['It', null], ['Come.As.You.Is', null], ['Dont.Look.No', null], ['Movie.2020', null]
  ] as const) t.equal(namedLanguage(stem, null).language, language, stem)
  t.end()
})

t.test('a name of any length takes no time', (t) => {
  const before = performance.now()
  for (const name of ['a.'.repeat(500_000), 'e'.repeat(1_000_000), '\u0301'.repeat(200_000)]) namedLanguage(name, name)
  t.ok(performance.now() - before < 1000)
  t.end()
})
