// Brings an MP4 to an exact length with a `free` box at its end (ISO/IEC 14496-12 section 8.1.2), which players skip.
// node scripts/pad-mp4.ts IN OUT LENGTH_BYTES
import { readFileSync, writeFileSync } from 'node:fs'

const [input, output, length] = process.argv.slice(2)
if (input === undefined || output === undefined || length === undefined) throw new Error('usage: pad-mp4.ts IN OUT LENGTH_BYTES')

const video = readFileSync(input)
const padding = Buffer.alloc(Number(length) - video.length)
if (padding.length < 8) throw new Error(`${video.length} bytes leave no room for a box: encode to less than ${Number(length) - 8}`)
padding.writeUInt32BE(padding.length, 0)
padding.write('free', 4, 'latin1')
writeFileSync(output, Buffer.concat([video, padding]))
console.log(`${output}: ${video.length} bytes of video, ${padding.length} of padding`)
