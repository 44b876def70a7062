/** So much of a file's beginning tells what it is. */
export const HEAD_BYTES = 512

/**
 * The name that FFmpeg's demuxer has for what begins with these bytes; null: it is none that is let in. Media tools that
 * may guess take a playlist for a film whatever its name says, and fetch what it names; so they are told what to read.
 */
export function containerFormatOf (head: Buffer): string | null {
  const text = (start: number, end: number): string => head.toString('latin1', start, end)
  if (head.length < 12) return null
  if (head.readUInt32BE(0) === 0x1a45dfa3) return 'matroska'
  if (/^(?:ftyp|moov|mdat|free|skip|wide)$/.test(text(4, 8))) return 'mov'
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'AVI ') return 'avi'
  if (text(0, 4) === 'RIFF' && text(8, 12) === 'WAVE') return 'wav'
  if (text(0, 4) === 'OggS') return 'ogg'
  if (text(0, 4) === 'fLaC') return 'flac'
  if (text(0, 3) === 'FLV') return 'flv'
  if (head.readUInt32BE(0) === 0x3026b275) return 'asf'
  if (head.readUInt32BE(0) === 0x000001ba) return 'mpeg'
  if (text(0, 3) === 'ID3' || (head.readUInt16BE(0) & 0xffe6) === 0xffe2) return 'mp3'
  // Packets of 188 bytes, in m2ts with four more before each.
  if (head[0] === 0x47 && head[188] === 0x47 && head[376] === 0x47) return 'mpegts'
  if (head[4] === 0x47 && head[196] === 0x47 && head[388] === 0x47) return 'mpegts'
  return null
}
