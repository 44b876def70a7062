import t from 'tap'
import { toWebVtt } from '../../../services/subtitles/webvtt.ts'

const never = new AbortController().signal
const convert = async (text: string) => await toWebVtt(text, never)

t.test('SubRip becomes WebVTT: times, tags, places, and text that looks like markup', async (t) => {
  const srt = [
    '1', '00:00:01,500 --> 00:00:02,000', 'One', 'and <i>more</i>', '',
    '2', '00:00:03,000 --> 00:00:04,25', '{\\an8}<font color="red">Top</font> <B>bold</B>', '',
    '3', '01:02:05,000 --> 01:02:06,000 X1:100 X2:200', 'a < b && c > d --> e &amp; f', ''
  ].join('\r\n')
  t.equal(await convert(srt), `WEBVTT

00:00:01.500 --> 00:00:02.000
One
and <i>more</i>

00:00:03.000 --> 00:00:04.250 line:0
Top <b>bold</b>

01:02:05.000 --> 01:02:06.000
a &lt; b &amp;&amp; c &gt; d --&gt; e &amp; f
`)
})

t.test('SubRip is forgiven what people do to it', async (t) => {
  const cue = `WEBVTT

00:00:01.000 --> 00:00:02.000
one

00:00:03.000 --> 00:00:04.000
two
three
`
  for (const [what, text] of Object.entries({
    'no counters': '00:00:01,000 --> 00:00:02,000\none\n\n00:00:03,000 --> 00:00:04,000\ntwo\nthree',
    'no empty lines': '1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:03,000 --> 00:00:04,000\ntwo\nthree',
    'empty lines everywhere': '\n\n1\n\n00:00:01,000 --> 00:00:02,000\n\none\n\n\n2\n00:00:03,000 --> 00:00:04,000\ntwo\n\nthree\n\n\n',
    'old Macs': '1\r00:00:01,000 --> 00:00:02,000\rone\r\r2\r00:00:03,000 --> 00:00:04,000\rtwo\rthree\r',
    'points, single arrows and missing hours': '1\n00:01.000 -> 00:02.000\none\n\n2\n0:0:3.0-->0:0:4\ntwo\nthree',
    'out of order': '2\n00:00:03,000 --> 00:00:04,000\ntwo\nthree\n\n1\n00:00:01,000 --> 00:00:02,000\none',
    'cues that end before they begin': '1\n00:00:01,000 --> 00:00:02,000\none\n\n9\n00:00:05,000 --> 00:00:04,000\nnever\n\n2\n00:00:03,000 --> 00:00:04,000\ntwo\nthree'
  })) t.equal(await convert(text), cue, what)
})

t.test('SubStation Alpha becomes WebVTT, without styles, drawings, comments and layers', async (t) => {
  const ass = `[Script Info]
Title: x

[V4+ Styles]
Format: Name, Fontname
Style: Default,Arial

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,never
Dialogue: 0,0:00:05.00,0:00:06.50,Default,,0,0,0,,Second, with commas\\Nand a {\\i1\\b1}new{\\i0} line{\\b0}
Dialogue: 1,0:00:05.00,0:00:06.50,Default,,0,0,0,,{\\blur3}Second, with commas\\Nand a {\\i1\\b1}new{\\i0} line{\\b0}
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\an8\\fad(100,100)\\pos(1,2)}First\\hone {\\u1}under
Dialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\p1}m 0 0 l 100 0{\\p0}
Dialogue: broken
`
  const expected = `WEBVTT

00:00:01.000 --> 00:00:02.000 line:0
First&nbsp;one <u>under</u>

00:00:05.000 --> 00:00:06.500
Second, with commas
and a <i><b>new</b></i><b> line</b>
`
  t.equal(await convert(ass), expected)
  t.equal(await convert(ass.replaceAll('\n', '\r\n')), expected)
})

t.test('WebVTT stays as it is', async (t) => {
  const vtt = 'WEBVTT - a title\n\nNOTE x\n\n00:01.000 --> 00:02.000 align:start\n<v Bob>Hi\n'
  t.equal(await convert(vtt), vtt)
})

t.test('what is no subtitle at all has none', async (t) => {
  for (const text of ['', 'no times here', '\0'.repeat(1000), '[Script Info]\n[Events]\nDialogue:\n']) t.equal(await convert(text), 'WEBVTT\n\n')
})

t.test('megabytes of whatever are done with soon, and others have their turns meanwhile', async (t) => {
  const size = 5_000_000
  const cue = '1\n00:00:01,000 --> 00:00:02,000\n'
  const ass = '[Events]\nDialogue: 0,0:00:05.00,0:00:06.50,Default,,0,0,0,,'
  for (const [what, text] of Object.entries({
    tags: cue + '<i'.repeat(size / 2),
    braces: cue + '{\\'.repeat(size / 2),
    ampersands: cue + '&'.repeat(size),
    spaces: cue + ' '.repeat(size),
    newlines: cue + '\n '.repeat(size / 2),
    arrows: '-->'.repeat(size / 3),
    numbers: `${'0'.repeat(size)}:00:00 --> `,
    'ass braces': ass + '{'.repeat(size),
    'ass blocks': ass + '{\\i1}{\\i0}'.repeat(size / 10),
    'ass overrides': `${ass}{${'\\'.repeat(size)}}`,
    'ass columns': `[Events]\nFormat: ${'a,'.repeat(size / 2)}`,
    'ass spaces': `[Events]\n${' '.repeat(size)}`,
    cues: cue.repeat(size / cue.length)
  })) {
    const before = performance.now()
    await convert(text)
    t.ok(performance.now() - before < 4000, `${what}: ${Math.round(performance.now() - before)} ms`)
  }
})

t.test('who has left is not worked for', async (t) => {
  await t.rejects(toWebVtt('a\n'.repeat(10_000), AbortSignal.abort(new Error('gone'))), { message: 'gone' })
})
