import { address, call, reasonOf, streamAddress } from './api.js'
import { isolate } from './format.js'
import { onLanguage, text, word } from './i18n.js'
import { playerLinks } from './players.js'
import * as timeline from './timeline.js'

const byId = (id) => document.getElementById(id)
const video = byId('video')
const statusMs = 1_000
/** The server looks for metadata, and for whoever delivers, a little less long. */
const startMs = 70_000

/** What plays: the torrent's infohash, the file's index (null: the default one), its name and address. */
let playing = null
/** What had the focus before the player took it. */
let opener = null
/** Did whoever watches want it to play, when the server was lost? */
let isPaused = false

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
  if (!byId('player').contains(document.activeElement)) opener = document.activeElement
  byId('playing').focus({ preventScroll: true })
  const shown = playing
  addSubtitles(shown)
  followStatus(shown)
}

export function stop () {
  const isFocused = byId('player').contains(document.activeElement)
  playing = null
  video.removeAttribute('src')
  video.load()
  byId('player').hidden = true
  if (isFocused) (opener?.isConnected ? opener : byId('torrents-title')).focus()
  opener = null
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
  const subtitles = await call(`api/torrents/${shown.infoHash}/subtitles${query}`, { timeoutMs: startMs }).then(({ data }) => data, () => [])
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
    if (status === null) {
      write('now', text('serverSilent'))
    } else {
      showStatus(status)
      if (video.error !== null && shown.lost !== undefined && status.state !== 'failed') goOn(shown)
    }
    await new Promise((resolve) => { setTimeout(resolve, document.hidden ? 10 * statusMs : statusMs) })
  }
}

function showStatus ({ state, reason, responses, lastResponse }) {
  const response = responses.at(-1) ?? lastResponse
  const source = response?.segments.at(-1)?.source
  const line = state === 'starting' || state === 'waiting'
    ? text(`now.${state}`, { reason: isolate(reason) })
    : source === undefined ? '' : text('now', { source: word('source', source) })
  // The reason counts seconds: to be read, not to be read out each second.
  byId('now').setAttribute('aria-live', playing.state === state ? 'off' : 'polite')
  playing.state = state
  write('now', line)
  timeline.showServed(byId('served'), response)
}

function write (id, words) {
  if (byId(id).textContent !== words) byId(id).textContent = words
}

/** Browsers give up after half a minute without the server, and forget the place when they begin again. */
function goOn ({ url, lost }) {
  if (performance.now() < lost.nextTry) return
  lost.pauseMs = Math.min(lost.pauseMs * 2, 60_000)
  lost.nextTry = performance.now() + lost.pauseMs
  byId('trouble').textContent = ''
  video.src = url
  video.currentTime = lost.place
  if (!isPaused) video.play().catch(() => {})
}

/** The browser says only that it cannot play; the server says why, if it is the server. */
async function explain () {
  const shown = playing
  if (shown === null || !video.hasAttribute('src')) return
  const { error, currentTime } = video
  if (error?.code === window.MediaError.MEDIA_ERR_NETWORK) shown.lost ??= { place: currentTime, pauseMs: 1_000, nextTry: 0 }
  const told = await why(shown)
  if (playing !== shown || video.error !== error) return
  byId('trouble').textContent = told
  byId('open-in').open = true
}

async function why ({ url, fileName }) {
  try {
    const response = await fetch(url, { headers: { Range: 'bytes=0-0' }, cache: 'no-store', signal: AbortSignal.timeout(startMs) })
    if (!response.ok) return reasonOf(await response.json())
    await response.body.cancel()
    // It is back already: the film goes on.
    if (playing?.lost !== undefined) return ''
    const kind = /\.(\w{2,4})$/.exec(fileName)?.[1]?.toUpperCase() ?? response.headers.get('Content-Type')
    return video.error?.code === window.MediaError.MEDIA_ERR_DECODE ? text('cannotDecode') : text('cannotPlay', { kind: isolate(kind) })
  } catch {
    return text('serverSilent')
  }
}

/** Browsers play what they know of a film, and leave its sound or its picture out without a word. */
function judge () {
  const { played, readyState, videoWidth, muted, webkitAudioDecodedByteCount: heard } = video
  if (playing === null || playing.isJudged || muted || readyState < video.HAVE_CURRENT_DATA || played.length === 0 || played.end(0) - played.start(0) < 2) return
  playing.isJudged = true
  if (videoWidth === 0 && !/\.(mp3|m4[ab]|flac|og[ga]|opus|wav|aac|wma)$/i.test(playing.fileName)) byId('trouble').textContent = text('noPicture')
  else if (videoWidth > 0 && heard === 0) byId('trouble').textContent = text('noSound')
}

async function copyLink () {
  if (playing === null) return
  try {
    await navigator.clipboard.writeText(playing.named)
    byId('copy-link').textContent = text('copied')
    setTimeout(() => { byId('copy-link').textContent = text('copyLink') }, 2_000)
  } catch {
    // Without https there is no clipboard.
    window.prompt(text('copyThis'), playing.named)
  }
}

video.addEventListener('error', () => { explain() })
video.addEventListener('timeupdate', judge)
video.addEventListener('play', () => { isPaused = false })
video.addEventListener('playing', () => { if (playing !== null) delete playing.lost })
// Chromium pauses what it gives up.
video.addEventListener('pause', () => { isPaused = video.error === null })
byId('copy-link').addEventListener('click', () => { copyLink() })
byId('close-player').addEventListener('click', stop)
onLanguage(() => {
  showLinks()
  if (playing !== null) timeline.show(byId('timeline'), playing.infoHash)
})
