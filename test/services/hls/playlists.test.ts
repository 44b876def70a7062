import t from 'tap'
import { ffmpegArguments } from '../../../services/hls/arguments.ts'
import { codecOf } from '../../../services/hls/codecs.ts'
import { textOf } from '../../../services/hls/parts.ts'
import { masterPlaylist, mediaPlaylist } from '../../../services/hls/playlists.ts'
import { cutsOf, nameOf, renditionNamed, renditionsFor } from '../../../services/hls/renditions.ts'
import type { Media, MediaTrack } from '../../../services/media/probe.ts'
import type { Abilities, Rendition } from '../../../services/hls/renditions.ts'

const track: MediaTrack = { index: 0, type: 'video', codec: 'h264', language: null, title: null, isDefault: false, isForced: false, isPicture: false, profile: 'High', level: 41, width: 1920, height: 1080, frameRate: 24, pixelFormat: 'yuv420p', isReordered: true, startSeconds: 0, durationSeconds: null, channels: null, sampleRate: null }
const sound: MediaTrack = { ...track, index: 1, type: 'audio', codec: 'aac', profile: 'LC', channels: 2, sampleRate: 48_000, width: null, height: null, frameRate: null, level: null }
const text: MediaTrack = { ...track, index: 3, type: 'subtitle', codec: 'subrip', language: 'heb' }
const abilities: Abilities = { videoCodecs: ['h264', 'h265', 'hevc'], audioCodecs: ['aac', 'ac3'], maxAudioChannels: 2, isForced: false, maxWidth: 1920 }
const keyframes = Array.from({ length: 20 }, (_, index) => index * 2.5)

function mediaOf (tracks: readonly MediaTrack[], more: Partial<Media> = {}): Media {
  return { format: 'matroska,webm', demuxer: 'matroska', durationSeconds: 50.2, startSeconds: 0, bitsPerSecond: 4_000_000, tracks, ...more }
}

t.test('what the player knows is copied, the rest is transcoded', async (t) => {
  const chosen = (tracks: readonly MediaTrack[], own: Partial<Abilities> = {}, index: readonly number[] | null = keyframes, more: Partial<Media> = {}): string => {
    const { video, audio, subtitles } = renditionsFor(mediaOf(tracks, more), index, { ...abilities, ...own })
    return [...video === null ? [] : [video], ...audio, ...subtitles].map(nameOf).join(' ')
  }
  t.equal(chosen([track, sound, text]), 'video0-copy audio1-copy subtitle3')
  t.equal(chosen([track, sound], {}, null), 'video0-h264-1920 audio1-copy', 'no index')
  t.equal(chosen([track, sound], {}, [0, 40]), 'video0-h264-1920 audio1-copy', 'an index with gaps')
  t.equal(chosen([track, sound], { isForced: true }), 'video0-h264-1920 audio1-aac-2')
  t.equal(chosen([{ ...track, pixelFormat: 'yuv420p10le', profile: 'High 10' }]), 'video0-h264-1920', 'H.264 that no browser decodes')
  t.equal(chosen([{ ...track, codec: 'hevc' }]), 'video0-copy')
  t.equal(chosen([{ ...track, codec: 'hevc' }], { videoCodecs: ['h264'], maxWidth: 1280 }), 'video0-h264-1280')
  t.equal(chosen([{ ...track, codec: 'mpeg4' }], { videoCodecs: ['mpeg4'] }), 'video0-h264-1920', 'not in fragments')
  t.equal(chosen([sound, { ...sound, index: 2, channels: 6 }]), 'audio1-copy audio2-aac-2')
  t.equal(chosen([{ ...sound, codec: 'ac3', channels: 6 }], { maxAudioChannels: 6 }), 'audio1-copy')
  t.equal(chosen([{ ...sound, codec: 'dts', channels: 6 }], { maxAudioChannels: 8 }), 'audio1-aac-6')
  t.equal(chosen([{ ...sound, codec: 'dts', channels: 1 }]), 'audio1-aac-1')
  t.equal(chosen([{ ...sound, codec: 'mp3' }], { audioCodecs: ['mp3'] }), 'audio1-aac-2')
  t.equal(chosen([{ ...sound, codec: 'ac3' }, { ...sound, index: 2 }]), 'audio1-aac-2 audio2-copy', 'one codec for all that can be chosen')
  t.equal(chosen([track, sound], {}, keyframes, { demuxer: 'mpegts' }), 'video0-copy audio1-aac-2')
  t.equal(chosen([track, { ...sound, startSeconds: 0.5, durationSeconds: 49.5 }]), 'video0-copy audio1-copy')
  t.equal(chosen([track, { ...sound, startSeconds: 5 }]), 'video0-copy audio1-aac-2', 'sound that begins late, with silence before it')
  t.equal(chosen([track, { ...sound, durationSeconds: 40 }]), 'video0-copy audio1-aac-2', 'sound that ends early, with silence behind it')
  t.equal(chosen([{ ...track, isPicture: true }, sound]), 'audio1-copy', 'a cover is no video')
  t.equal(chosen([track, { ...text, codec: 'hdmv_pgs_subtitle' }]), 'video0-copy')
})

t.test('video of which a segment would be more than may be held in memory is transcoded', async (t) => {
  const chosen = (mostBytes: number): string => nameOf(renditionsFor(mediaOf([track]), keyframes, abilities, mostBytes).video ?? { kind: 'subtitle', track: 0 })
  // 7.5 s of 4 Mbit/s, and half as much again where there is more in a second.
  t.equal(chosen(5_625_000), 'video0-copy')
  t.equal(chosen(5_624_000), 'video0-h264-1920')
})

t.test('the name of a rendition says all of it, and nothing else is one', async (t) => {
  const renditions: Rendition[] = [{ kind: 'video', track: 0, maxWidth: 'copy' }, { kind: 'video', track: 12, maxWidth: 1920 }, { kind: 'audio', track: 1, channels: 'copy' }, { kind: 'audio', track: 1, channels: 6 }, { kind: 'subtitle', track: 3 }]
  for (const rendition of renditions) t.same(renditionNamed(nameOf(rendition)), rendition)
  for (const name of ['', 'video0', 'video-copy', 'video0-h264', 'video0-h264-19200', 'video0-aac-2', 'audio1', 'audio1-aac-3', 'audio1-h264-100', 'subtitle3-copy', 'video99999-copy', 'video0-copy-copy', '../video0-copy']) t.equal(renditionNamed(name), null, name)
})

t.test('copied video is cut at keyframes 6 s apart, sound of our own where frames end', async (t) => {
  const media = mediaOf([track, sound])
  t.same(cutsOf(media, { kind: 'video', track: 0, maxWidth: 'copy' }, keyframes), [0, 7.5, 15, 22.5, 30, 37.5, 45, 50.2])
  t.same(cutsOf({ ...media, bitsPerSecond: 40_000_000 }, { kind: 'video', track: 0, maxWidth: 'copy' }, keyframes)?.slice(0, 4), [0, 2.5, 5, 7.5], 'shorter where there is much in a second')
  const audio = cutsOf(media, { kind: 'audio', track: 1, channels: 2 }, null) ?? []
  for (const cut of audio.slice(0, -1)) t.ok(Number.isInteger(Math.round(cut * 48_000) / 1024), `${cut}`)
  t.equal(audio.at(-1), 50.2)
  t.same(cutsOf(mediaOf([{ ...track, durationSeconds: 11 }]), { kind: 'video', track: 0, maxWidth: 1920 }, null), [0, 4, 8, 11], 'no longer than its last frame')
  for (const durationSeconds of [null, 0, -1, 1e9]) t.equal(cutsOf({ ...media, durationSeconds }, { kind: 'audio', track: 1, channels: 2 }, null), null)
})

t.test('a master playlist names what there is, and quotes what files say', async (t) => {
  const media = mediaOf([track, { ...sound, language: 'eng', isDefault: false }, { ...sound, index: 2, language: 'heb', title: 'Say "hi"\nURI="evil"', isDefault: true }, text])
  t.equal(masterPlaylist(media, renditionsFor(media, keyframes, abilities), '?mediaURL=x'), `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="English",LANGUAGE="eng",DEFAULT=NO,AUTOSELECT=YES,CHANNELS="2",URI="audio1-copy.m3u8?mediaURL=x"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="Say 'hi''URI='evil'",LANGUAGE="heb",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="audio2-copy.m3u8?mediaURL=x"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subtitles",NAME="Hebrew",LANGUAGE="heb",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="subtitle3.m3u8?mediaURL=x"
#EXT-X-STREAM-INF:BANDWIDTH=6000000,CODECS="avc1.640029,mp4a.40.2",RESOLUTION=1920x1080,FRAME-RATE=24.000,AUDIO="audio",SUBTITLES="subtitles"
video0-copy.m3u8?mediaURL=x
`)
  const music = mediaOf([sound])
  t.match(masterPlaylist(music, renditionsFor(music, null, abilities), ''), /#EXT-X-STREAM-INF:BANDWIDTH=\d+,CODECS="mp4a\.40\.2"\naudio1-copy\.m3u8\n$/)
})

t.test('a media playlist is as long as the film, and no segment is longer than it says', async (t) => {
  const list = mediaPlaylist({ kind: 'video', track: 0, maxWidth: 'copy' }, [0, 7.5, 16.25, 20], '?q')
  t.match(list, /#EXT-X-TARGETDURATION:9\n/)
  t.match(list, /#EXT-X-MAP:URI="video0-copy\/init\.mp4\?q"\n#EXTINF:7\.500000,\nvideo0-copy\/0\.m4s\?q\n#EXTINF:8\.750000,\nvideo0-copy\/1\.m4s\?q\n#EXTINF:3\.750000,\nvideo0-copy\/2\.m4s\?q\n#EXT-X-ENDLIST\n$/)
  t.notMatch(mediaPlaylist({ kind: 'subtitle', track: 3 }, [0, 12], ''), 'EXT-X-MAP')
})

t.test('a playlist that would fill the memory, for its address is long and so is the film, is none', async (t) => {
  const cuts = cutsOf(mediaOf([track], { durationSeconds: 47 * 3600 }), { kind: 'video', track: 0, maxWidth: 1920 }, null) ?? []
  t.equal(cuts.length, 42_301)
  t.equal(mediaPlaylist({ kind: 'video', track: 0, maxWidth: 1920 }, cuts, '?'.padEnd(8000, 'x')), null)
  t.match(mediaPlaylist({ kind: 'video', track: 0, maxWidth: 1920 }, cuts, '?'.padEnd(100, 'x')), /42299\.m4s/)
})

t.test('CODECS says what RFC 6381 and the codecs themselves want', async (t) => {
  const copied = (more: Partial<MediaTrack>): string | null => codecOf({ ...track, ...more }, { kind: 'video', track: 0, maxWidth: 'copy' })
  t.equal(copied({}), 'avc1.640029')
  t.equal(copied({ profile: 'Constrained Baseline', level: 30 }), 'avc1.42e01e')
  t.equal(copied({ codec: 'hevc', profile: 'Main 10', level: 120 }), 'hvc1.2.4.L120.B0')
  t.equal(copied({ codec: 'vp9', profile: 'Profile 0', level: null }), 'vp09.00.41.08')
  t.equal(copied({ codec: 'av1', profile: 'Main', level: 8, pixelFormat: 'yuv420p10le' }), 'av01.0.08M.10')
  t.equal(codecOf({ ...sound, profile: 'HE-AAC' }, { kind: 'audio', track: 1, channels: 'copy' }), 'mp4a.40.5')
  t.equal(codecOf({ ...sound, codec: 'eac3' }, { kind: 'audio', track: 1, channels: 'copy' }), 'ec-3')
  t.equal(codecOf({ ...sound, codec: 'eac3' }, { kind: 'audio', track: 1, channels: 2 }), 'mp4a.40.2')
})

t.test('ffmpeg reads what it is given over HTTP alone, as the container that it is', async (t) => {
  for (const rendition of [{ kind: 'video', track: 0, maxWidth: 'copy' }, { kind: 'video', track: 0, maxWidth: 1280 }, { kind: 'audio', track: 1, channels: 2 }, { kind: 'subtitle', track: 3 }] as const) {
    const args = ffmpegArguments('http://127.0.0.1/x', mediaOf([track, sound, text]), rendition, { start: 12, end: 18, isLast: false, nextKeyframe: 14.5 })
    const at = args.indexOf('-i')
    t.same(args.slice(at - 4, at + 2), ['-protocol_whitelist', 'http,tcp', '-f', 'matroska', '-i', 'http://127.0.0.1/x'])
    t.ok(args.includes('-nostdin'))
  }
  const shifted = ffmpegArguments('x', mediaOf([track], { demuxer: 'mpegts', startSeconds: 26_000 }), { kind: 'video', track: 0, maxWidth: 1280 }, { start: 20, end: 24, isLast: false, nextKeyframe: null })
  t.equal(shifted[shifted.indexOf('-itsoffset') + 1], '-26000.000000')
  t.equal(shifted[shifted.indexOf('-ss') + 1], '26008.000000')
})

t.test('subtitles of a segment are those that are to be seen in it', async (t) => {
  const vtt = 'WEBVTT\n\n00:01.000 --> 00:04.000\nbefore\n\n00:10.000 --> 00:13.000\ninto it\n\n1:00:13.000 --> 1:00:14.000\nmuch later\n\n00:23.999 --> 00:40.000\nout of it\n\n'
  t.equal(textOf(vtt, { start: 12, end: 24 }).toString(), 'WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n00:00:10.000 --> 00:00:13.000\ninto it\n\n00:00:23.999 --> 00:00:40.000\nout of it\n\n')
  t.match(textOf(vtt, { start: 3600, end: 3620 }).toString(), '01:00:13.000 --> 01:00:14.000\nmuch later')
})
