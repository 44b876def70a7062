import { address, call, reasonOf, streamAddress } from './api.js'
import { isolate } from './format.js'
import { onLanguage, text, word } from './i18n.js'
import { playerLinks } from './players.js'
import * as timeline from './timeline.js'

const byId = (id) => document.getElementById(id)
const video = byId('video')
const statusMs = 1_000

/** What plays: the torrent's infohash, the file's index (null: the default one), its name and address. */
let playing = null

export function isPlaying (infoHash) {
  return playing?.infoHash === infoHash
}

/** Plays a file of a torrent. */
export function play ({ infoHash, name, streamUrl, fileIndex, fileName }) {
  const url = streamAddress(infoHash, streamUrl)
  const named = fileIndex === null || fileName === null ? url : address(`stream/${infoHash}/${fileIndex}/${encodeURIComponent(fileName)}${queryWithoutIndex(url)}`)
  playing = { infoHash, fileIndex, name, url, named, fileName: fileName ?? name }
  byId('playing').textContent = name
  byId('trouble').textContent = ''
  byId('now').textContent = ''
  byId('served').hidden = true
  byId('player').hidden = false
  for (const track of video.querySelectorAll('track')) track.remove()
  video.src = url
  // A browser that wants another click first shows its own play button.
  video.play().catch(() => {})
  showLinks()
  timeline.show(byId('timeline'), infoHash)
  byId('player').scrollIntoView({ block: 'nearest' })
  const shown = playing
  addSubtitles(shown)
  followStatus(shown)
}

export function stop () {
  playing = null
  video.removeAttribute('src')
  video.load()
  byId('player').hidden = true
}

/** To be told of each event of a torrent. */
export function onEvent (infoHash) {
  if (isPlaying(infoHash)) timeline.show(byId('timeline'), infoHash)
}

function queryWithoutIndex (url) {
  const { searchParams } = new URL(url)
  searchParams.delete('fileIndex')
  return searchParams.size === 0 ? '' : `?${searchParams}`
}

function showLinks () {
  if (playing === null) return
  const { infoHash, fileIndex, named } = playing
  const rows = playerLinks(named, { infoHash, userAgent: navigator.userAgent }).map(({ name, href }) => {
    const link = document.createElement('a')
    link.className = 'button'
    link.textContent = name
    link.href = href
    const row = document.createElement('li')
    row.append(link)
    return row
  })
  const command = document.createElement('li')
  command.textContent = text('commandFor', { command: isolate(`mpv "${named}"`) })
  byId('players').replaceChildren(...rows, command)
  byId('m3u').href = address(`stream/proxy/${infoHash}/playlist.m3u${fileIndex === null ? '' : `?fileIndex=${fileIndex}`}`)
}

async function addSubtitles (shown) {
  const query = shown.fileIndex === null ? '' : `?fileIndex=${shown.fileIndex}`
  const subtitles = await call(`api/torrents/${shown.infoHash}/subtitles${query}`).then(({ data }) => data, () => [])
  if (playing !== shown) return
  for (const { fileIndex, name, language, isForced, isHearingImpaired } of subtitles.slice(0, 50)) {
    const track = document.createElement('track')
    const about = [isForced && text('subtitleForced'), isHearingImpaired && text('subtitleHearing')].filter(Boolean).join(', ')
    track.kind = 'subtitles'
    track.label = `${language === null ? name : languageName(language)}${about === '' ? '' : ` (${about})`}`
    if (language !== null) track.srclang = language
    track.src = address(`api/torrents/${shown.infoHash}/subtitles/${fileIndex}.vtt`)
    video.append(track)
  }
}

function languageName (tag) {
  try {
    return new Intl.DisplayNames(document.documentElement.lang, { type: 'language' }).of(tag)
  } catch {
    return tag
  }
}

/** Says all the time where the bytes come from, and why none come. */
async function followStatus (shown) {
  const isShown = () => playing === shown
  while (isShown()) {
    const status = await fetch(address(`stream/status/${shown.infoHash}`), { cache: 'no-store', signal: AbortSignal.timeout(10_000) })
      .then((response) => response.ok ? response.json() : null, () => null)
    if (!isShown()) return
    if (status !== null) showStatus(status)
    await new Promise((resolve) => { setTimeout(resolve, document.hidden ? 10 * statusMs : statusMs) })
  }
}

function showStatus ({ state, reason, responses, lastResponse }) {
  const response = responses.at(-1) ?? lastResponse
  const source = response?.segments.at(-1)?.source
  const line = state === 'starting' || state === 'waiting'
    ? text(`now.${state}`, { reason: isolate(reason) })
    : source === undefined ? '' : text('now', { source: word('source', source) })
  if (byId('now').textContent !== line) byId('now').textContent = line
  timeline.showServed(byId('served'), response)
}

/** The browser says only that it cannot play; the server says why, if it is the server. */
async function explain () {
  const shown = playing
  if (shown === null || !video.hasAttribute('src')) return
  const told = await why(shown)
  if (playing !== shown) return
  byId('trouble').textContent = told
  byId('open-in').open = true
}

async function why ({ url, fileName }) {
  try {
    const response = await fetch(url, { headers: { Range: 'bytes=0-0' }, cache: 'no-store', signal: AbortSignal.timeout(70_000) })
    if (!response.ok) return reasonOf(await response.json())
    await response.body.cancel()
    const kind = /\.(\w{2,4})$/.exec(fileName)?.[1]?.toUpperCase() ?? response.headers.get('Content-Type')
    return video.error?.code === window.MediaError.MEDIA_ERR_DECODE ? text('cannotDecode') : text('cannotPlay', { kind: isolate(kind) })
  } catch {
    return text('serverSilent')
  }
}

/** Chromium plays a film without its sound when it knows the picture's codec only, and says nothing. */
function listenForSound () {
  const { webkitVideoDecodedByteCount: seen = 0, webkitAudioDecodedByteCount: heard = 0 } = video
  if (playing === null || video.currentTime < 3 || seen === 0 || heard > 0 || video.muted) return
  // A film without any sound is no trouble.
  if (!/\.(mkv|avi|mov|ts|m2ts)$/i.test(playing.fileName)) return
  byId('trouble').textContent = text('noSound')
}

async function copyLink () {
  if (playing === null) return
  try {
    await navigator.clipboard.writeText(playing.named)
    byId('trouble').textContent = text('copied')
  } catch {
    // Without https there is no clipboard.
    window.prompt(text('copyThis'), playing.named)
  }
}

video.addEventListener('error', () => { explain() })
video.addEventListener('timeupdate', listenForSound)
byId('copy-link').addEventListener('click', () => { copyLink() })
byId('close-player').addEventListener('click', stop)
onLanguage(() => {
  showLinks()
  if (playing !== null) timeline.show(byId('timeline'), playing.infoHash)
})
