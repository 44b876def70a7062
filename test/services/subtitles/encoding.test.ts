import t from 'tap'
import { decodeText } from '../../../services/subtitles/encoding.ts'

const hebrew = 'שלום עולם, זה סרט טוב מאוד.\nאני לא יודע מה אתה רוצה ממני.\nלמה אתה מדבר ככה?'
const arabic = 'مرحبا بالعالم، هذا فيلم جيد جدا\nلا أعرف ماذا تريد مني\nلماذا تتكلم هكذا؟'

/** The bytes of a text in an encoding with one byte a character, found by trying all 256. */
function encodedBySingleBytes (text: string, encoding: string): Buffer {
  const decoder = new TextDecoder(encoding)
  const byteOf = new Map(Array.from({ length: 256 }, (_, byte) => [decoder.decode(Uint8Array.of(byte)), byte]))
  return Buffer.from([...text].map((character) => {
    const byte = byteOf.get(character)
    if (byte === undefined) throw new Error(`${character} is not in ${encoding}`)
    return byte
  }))
}

/** The bytes of a text in an encoding with two bytes a character, found by trying all. */
function encodedByPairs (text: string, encoding: string): Buffer {
  const decoder = new TextDecoder(encoding)
  const bytesOf = new Map<string, number[]>()
  for (let byte = 0; byte < 128; byte++) bytesOf.set(String.fromCharCode(byte), [byte])
  for (let lead = 0x81; lead < 0xff; lead++) {
    for (let trail = 0x40; trail < 0xff; trail++) {
      const character = decoder.decode(Uint8Array.of(lead, trail))
      if ([...character].length === 1 && !bytesOf.has(character)) bytesOf.set(character, [lead, trail])
    }
  }
  return Buffer.from([...text].flatMap((character) => bytesOf.get(character) ?? []))
}

function srt (text: string): string {
  return text.split('\n').map((line, i) => `${i + 1}\r\n00:00:0${i},000 --> 00:00:0${i},900\r\n${line}\r\n`).join('\r\n')
}

t.test('UTF-8 and UTF-16 are known for certain, marked or not', (t) => {
  for (const text of [srt(hebrew), srt(arabic), srt('plain'), srt('1080 … “quoted”'), '']) {
    t.same(decodeText(Buffer.from(text)), { text, encoding: 'utf-8' })
    t.same(decodeText(Buffer.from(`\ufeff${text}`)), { text, encoding: 'utf-8' }, 'the mark is no text')
    t.same(decodeText(Buffer.from(`\ufeff${text}`, 'utf16le')), { text, encoding: 'utf-16le' })
    t.same(decodeText(Buffer.from(`\ufeff${text}`, 'utf16le').swap16()), { text, encoding: 'utf-16be' })
    if (text === '') continue
    t.same(decodeText(Buffer.from(text, 'utf16le')), { text, encoding: 'utf-16le' })
    t.same(decodeText(Buffer.from(text, 'utf16le').swap16()), { text, encoding: 'utf-16be' })
  }
  t.end()
})

t.test('older encodings are told by their letters', (t) => {
  for (const [encoding, text] of [
    ['windows-1255', hebrew],
    ['windows-1256', arabic],
    ['windows-1251', 'Привет, мир. Это очень хороший фильм.\nЯ не знаю, чего ты хочешь от меня.'],
    ['windows-1252', 'Ça va très bien, mon ami. C’est l’été déjà.\nOù est la bibliothèque?'],
    ['windows-1250', 'Dzień dobry, jak się masz? Źle się czuję, żółć.\nZażółć gęślą jaźń'],
    ['windows-1253', 'Γεια σου Κόσμε, αυτή είναι μια πολύ καλή ταινία.\nΔεν ξέρω τι θέλεις'],
    ['windows-1254', 'Merhaba dünya, bu çok güzel bir film.\nNe istediğini bilmiyorum, şimdi söyle.']
  ] as const) t.equal(decodeText(encodedBySingleBytes(srt(text), encoding)).text, srt(text), encoding)
  for (const [encoding, text] of [
    ['gb18030', '你好世界，这是一部非常好的电影。\n我不知道你想要什么'],
    ['big5', '你好世界，這是一部非常好的電影。\n我不知道你想要什麼'],
    ['euc-kr', '안녕하세요 세계, 이것은 아주 좋은 영화입니다.\n당신이 무엇을 원하는지 모르겠어요']
  ] as const) t.equal(decodeText(encodedByPairs(srt(text), encoding)).text, srt(text), encoding)
  t.end()
})

t.test('of a few words the language that the name told decides', (t) => {
  const text = 'שלום עולם, זה סרט טוב'
  t.same(decodeText(encodedBySingleBytes(text, 'windows-1255'), 'he'), { text, encoding: 'windows-1255' })
  t.equal(decodeText(Buffer.from(text), 'ru').text, text, 'never against what is certain')
  t.equal(decodeText(encodedByPairs('你好世界，这是一部非常好的电影。', 'gb18030'), 'he').encoding, 'gb18030', 'nor what cannot be')
  t.end()
})

t.test('a single accent in a long English text does not change it', (t) => {
  const text = srt(`${'What are you doing here, my friend?\n'.repeat(8)}Café`)
  t.equal(decodeText(encodedBySingleBytes(text, 'windows-1252')).text, text)
  t.end()
})

t.test('any bytes are read, and soon', (t) => {
  const before = performance.now()
  for (const bytes of [Buffer.alloc(10_000_000, 0xff), Buffer.alloc(10_000_000), Buffer.from(Array.from({ length: 100_000 }, (_, i) => i * 7919 % 256))]) {
    t.type(decodeText(bytes).text, 'string')
  }
  t.ok(performance.now() - before < 3000)
  t.end()
})
