import { call } from './api.js'
import { dateTime, isolateName, size } from './format.js'
import { onLanguage, text } from './i18n.js'
import { say } from './torrents.js'

const byId = (id) => document.getElementById(id)
const shownEntries = 200
let timer = null

/** To be called when something in the cache has changed; looks soon, and only while somebody does. */
export function refresh () {
  if (!byId('cache').open || timer !== null) return
  timer = setTimeout(() => {
    timer = null
    look().catch((error) => { say(error.message, true) })
  }, 300)
}

async function look () {
  const { data: { entries, used, limit, free } } = await call(`api/cache?limit=${shownEntries}`)
  byId('budget-text').textContent = entries.length === 0
    ? text('cacheEmpty')
    : text('budget', { used: size(used), limit: size(limit), free: free === null ? '?' : size(free) })
  const bar = document.createElement('span')
  bar.style.inlineSize = `${Math.min(100, used / limit * 100)}%`
  byId('budget-bar').replaceChildren(bar)
  byId('budget-bar').setAttribute('aria-label', byId('budget-text').textContent)
  byId('cache-entries').replaceChildren(...entries.map(rowOf))
  byId('clear-cache').hidden = entries.length === 0
}

function rowOf ({ infoHash, name, path, size: bytes, kind, isPinned, isStreaming, isMismatch, lastStreamedAt }) {
  const row = document.createElement('li')
  const what = row.appendChild(document.createElement('span'))
  const title = what.appendChild(document.createElement('bdi'))
  title.textContent = name ?? path
  const facts = [text(`kind.${kind}`), isStreaming && text('streaming'), isMismatch && text('mismatch'), lastStreamedAt !== null && text('lastStreamed', { date: dateTime(new Date(lastStreamedAt)) })]
  what.appendChild(document.createElement('small')).textContent = facts.filter(Boolean).join(' · ')
  row.appendChild(document.createElement('small')).textContent = size(bytes)
  const label = isolateName(name ?? path)
  const pin = button(text(isPinned ? 'unpin' : 'pin'), label, () => call(`api/cache/${infoHash}/pin`, { method: isPinned ? 'DELETE' : 'POST' }))
  pin.setAttribute('aria-pressed', String(isPinned))
  row.append(pin, button(text('delete'), label, async () => {
    if (window.confirm(text('deleteFromCacheAsk', { name: label }))) await call(`api/cache/${infoHash}`, { method: 'DELETE' })
  }))
  return row
}

function button (words, label, act) {
  const made = document.createElement('button')
  made.type = 'button'
  made.textContent = words
  made.setAttribute('aria-label', `${words}: ${label}`)
  made.addEventListener('click', () => {
    act().catch((error) => { say(error.message, true) }).finally(refresh)
  })
  return made
}

async function clear () {
  if (!window.confirm(text('clearAsk'))) return
  const { data } = await call('api/cache', { method: 'DELETE' })
  say(text('cleared', { size: size(data.size) }))
}

byId('cache').addEventListener('toggle', refresh)
byId('clear-cache').addEventListener('click', () => {
  clear().catch((error) => { say(error.message, true) }).finally(refresh)
})
onLanguage(refresh)
