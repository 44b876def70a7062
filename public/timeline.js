import { isolate, size, time } from './format.js'
import { text, word } from './i18n.js'
import { reasonOf } from './api.js'

const kept = 100
/** A page may stay open for months, on a server that is asked for anything. */
const keptTorrents = 500
const byTorrent = new Map()

/** Remembers an event of a torrent. */
export function remember (name, event) {
  const events = byTorrent.get(event.infoHash) ?? []
  byTorrent.delete(event.infoHash)
  byTorrent.set(event.infoHash, [...events, { name, event }].slice(-kept))
  if (byTorrent.size > keptTorrents) byTorrent.delete(byTorrent.keys().next().value)
}

export function forget (infoHash) {
  byTorrent.delete(infoHash)
}

/** Writes what happened to a torrent, the latest first. */
export function show (list, infoHash) {
  const rows = (byTorrent.get(infoHash) ?? []).map(({ name, event }) => {
    const row = document.createElement('li')
    const when = row.appendChild(document.createElement('time'))
    when.dateTime = event.at
    when.textContent = time(new Date(event.at))
    const what = row.appendChild(document.createElement('span'))
    what.dir = 'auto'
    what.textContent = describe(name, event)
    return row
  })
  list.replaceChildren(...rows.reverse())
}

function describe (name, { source, position = 0, message, refusals = [], ms = 0 }) {
  return text(`event.${name}`, {
    source: word('source', source),
    position: size(position),
    reason: isolate(message ?? reasonOf({ reasons: refusals })),
    seconds: (ms / 1000).toFixed(1)
  })
}

/** Draws which source brought which part of a response, and says so. */
export function showServed (bar, response) {
  const { segments = [], range, deliveredBytes = 0 } = response ?? {}
  bar.hidden = segments.length === 0
  if (bar.hidden) return
  const whole = Math.max(range.end - range.start + 1, 1)
  const reached = range.start + deliveredBytes
  bar.replaceChildren(...segments.map(({ source, fromByte, toByte }) => {
    const part = document.createElement('span')
    part.className = `source-${source}`
    part.style.inlineSize = `${Math.max(0.5, ((toByte ?? reached) - fromByte) / whole * 100)}%`
    part.title = word('source', source)
    return part
  }))
  bar.setAttribute('aria-label', text('servedBy', { parts: segments.map(({ source }) => word('source', source)).join(', ') }))
}
