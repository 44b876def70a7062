import t from 'tap'
import { containerFormatOf } from '../../../services/media/container-format.ts'

const padded = (head: Buffer | string): Buffer => Buffer.concat([Buffer.from(head), Buffer.alloc(512)]).subarray(0, 512)

t.test('media is known by its first bytes', async (t) => {
  for (const [head, format] of [
    [Buffer.from('1a45dfa3a3428681', 'hex'), 'matroska'], ['\0\0\0\x1cftypisom', 'mov'], ['RIFF\0\0\0\0AVI ', 'avi'], ['OggS', 'ogg'], ['FLV\x01', 'flv'], ['ID3\x04', 'mp3'], [Buffer.from('000001ba44', 'hex'), 'mpeg']
  ] as const) t.equal(containerFormatOf(padded(Buffer.from(head))), format)
  const ts = Buffer.alloc(512)
  for (const at of [0, 188, 376]) ts[at] = 0x47
  t.equal(containerFormatOf(ts), 'mpegts')
})

t.test('what would make a program fetch something else is none', async (t) => {
  for (const head of ['#EXTM3U\n#EXTINF:10,\nhttp://evil/\n', 'ffconcat version 1.0\nfile http://evil/\n', '<?xml version="1.0"?><MPD>', '<smil>', 'http://evil/', 'v=0\no=- 0 0 IN IP4 127.0.0.1', '[playlist]\nFile1=http://evil/', '']) {
    t.equal(containerFormatOf(padded(head)), null, head.slice(0, 20))
  }
  t.equal(containerFormatOf(Buffer.from('#EXTM')), null)
})
