/** ISO 639-2 codes of what subtitles are in most, by their ISO 639-1 ones: Stremio knows languages by three letters. */
const codes = new Map('ar:ara bg:bul bn:ben ca:cat cs:cze da:dan de:ger el:ell en:eng es:spa et:est eu:baq fa:per fi:fin fr:fre gl:glg he:heb hi:hin hr:hrv hu:hun id:ind is:ice it:ita ja:jpn ka:geo ko:kor lt:lit lv:lav mk:mac ms:may nl:dut no:nor nb:nor pl:pol pt:por ro:rum ru:rus sk:slo sl:slv sq:alb sr:srp sv:swe ta:tam te:tel th:tha tr:tur uk:ukr ur:urd vi:vie zh:chi'
  .split(' ').map((pair): [string, string] => [pair.slice(0, 2), pair.slice(3)]))

/** How Stremio is told a language (BCP 47); null: nobody knows it. */
export function addonLanguage (language: string | null): string {
  if (language === null) return 'und'
  if (language === 'pt-BR') return 'pob'
  const [primary = language] = language.split('-')
  return codes.get(primary) ?? primary
}
