import { address, call, streamAddress } from './api.js'
import { isolate, isolateName, percent, size, speed } from './format.js'
import { onLanguage, text, translate, word } from './i18n.js'
import { keepDrawn } from './piece-map.js'
import * as player from './player.js'
import * as timeline from './timeline.js'

const byId = (id) => document.getElementById(id)
const list = byId('torrents')
/** So many have a card; more on demand. */
const pageLength = 100
const filterFrom = 10

const cards = new Map()
/** How many of the server's list are shown, and whether it has more. */
let wanted = pageLength
let hasMore = false
/** The torrents of which there was news since the list was asked for: it may be older. */
let news = new Set()

const isRunning = (status) => ['queued', 'metadata', 'downloading'].includes(status)

/** Asks for the whole list; returns the id of the event from which on to follow. */
export async function load () {
  news = new Set()
  const { data, facts } = await call(`api/torrents?limit=${Math.min(wanted, 1000)}`)
  hasMore = facts.total > data.length
  const known = new Set(data.map(({ infoHash }) => infoHash))
  for (const infoHash of cards.keys()) if (!known.has(infoHash) && !news.has(infoHash)) drop(infoHash)
  let next = list.firstElementChild
  for (const torrent of data) {
    const root = news.has(torrent.infoHash) ? cards.get(torrent.infoHash)?.root : show(torrent).root
    // One that is moved loses the focus.
    if (root === next) next = next.nextElementSibling
    else if (root !== undefined) list.insertBefore(root, next)
  }
  count()
  return facts.lastEventId
}

/** Shows what the server said of a torrent; a new one comes first. */
export function show (torrent) {
  news.add(torrent.infoHash)
  let card = cards.get(torrent.infoHash)
  if (card === undefined) {
    card = create(torrent.infoHash)
    cards.set(torrent.infoHash, card)
    list.prepend(card.root)
  }
  update(card, torrent)
  count()
  return card
}

export function toTop ({ root }) {
  list.prepend(root)
}

export function drop (infoHash) {
  news.add(infoHash)
  timeline.forget(infoHash)
  const card = cards.get(infoHash)
  if (card === undefined) return
  cards.delete(infoHash)
  card.root.remove()
  count()
  if (player.isPlaying(infoHash)) player.stop()
}

function count () {
  byId('filter').hidden = cards.size < filterFrom && byId('filter').value === ''
  byId('more').hidden = !hasMore || byId('filter').value !== ''
  applyFilter()
}

function applyFilter () {
  const wish = byId('filter').value.trim().toLowerCase()
  let shown = 0
  for (const { root, torrent } of cards.values()) {
    root.hidden = wish !== '' && !`${torrent.name ?? ''} ${torrent.infoHash}`.toLowerCase().includes(wish)
    if (!root.hidden) shown++
  }
  byId('empty').hidden = shown > 0
  byId('empty').textContent = text(cards.size === 0 ? 'none' : 'noneFound')
}

function create (infoHash) {
  const root = byId('card').content.firstElementChild.cloneNode(true)
  const part = (selector) => root.querySelector(selector)
  const card = { infoHash, root, part, torrent: { infoHash }, files: [], filesShown: '', isDrawn: false }
  translate(root)
  part('.name').id = `name-${infoHash}`
  part('.hash').textContent = infoHash
  part('.m3u').href = address(`stream/proxy/${infoHash}/playlist.m3u`)
  part('progress').setAttribute('aria-labelledby', part('.name').id)
  for (const control of root.querySelectorAll('button, a')) control.setAttribute('aria-describedby', part('.name').id)
  part('.play').addEventListener('click', () => { playMain(card) })
  part('.delete').addEventListener('click', () => { remove(card) })
  part('.more').addEventListener('toggle', () => { open(card) })
  part('.story').addEventListener('toggle', () => { onEvent(infoHash) })
  return card
}

/** To be told of each event of a torrent. */
export function onEvent (infoHash) {
  const card = cards.get(infoHash)
  if (card?.part('.story').open) timeline.show(card.part('.timeline'), infoHash)
}

/** An answer may hold a part of the facts only: what it does not say stays as it was. */
function update (card, { files, ...facts }) {
  const torrent = card.torrent = { ...card.torrent, ...facts }
  const { part } = card
  const write = (selector, words) => { if (part(selector).textContent !== words) part(selector).textContent = words }
  const { name, status, progress = 0, downloaded = 0, length, downloadSpeed = 0, peers = 0, source, fileCount, reason } = torrent

  write('.name', name || text('noName'))
  write('.facts', [
    word('status', status),
    length && (progress < 1 ? text('ofSize', { percent: percent(progress), size: size(length) }) : size(length)),
    isRunning(status) && speed(downloadSpeed),
    isRunning(status) && downloadSpeed > 0 && length > downloaded && timeLeft((length - downloaded) / downloadSpeed),
    isRunning(status) && text('peers', { count: peers }),
    source && text('fromSource', { source: word('source', source) })
  ].filter(Boolean).join(' · '))
  write('.reason', reason || '')
  part('progress').value = progress
  part('progress').hidden = !isRunning(status)
  part('.more').hidden = !fileCount
  write('summary', text('files', { count: fileCount ?? 0 }))
  if (files !== undefined) card.files = files
  if (part('.more').open) open(card)
}

function timeLeft (seconds) {
  return seconds < 90 ? text('secondsLeft', { count: Math.ceil(seconds) }) : text('minutesLeft', { count: Math.ceil(seconds / 60) })
}

async function playMain (card) {
  await askForFiles(card)
  const { infoHash, torrent, files } = card
  const { name, streamUrl, fileIndex = null } = torrent
  const file = files.find(({ index }) => index === fileIndex)
  player.play({ infoHash, name: file?.name ?? name ?? infoHash, streamUrl, fileIndex, fileName: file?.name ?? null })
}

/** Shows the files and the map of pieces of a card that was opened. */
async function open (card) {
  const { infoHash, part, torrent } = card
  const isOpen = () => part('.more').open && cards.get(infoHash) === card
  if (!isOpen()) return
  if (!card.isDrawn) {
    card.isDrawn = true
    keepDrawn(part('.pieces'), infoHash, isOpen).finally(() => { card.isDrawn = false })
  }
  await askForFiles(card)
  const key = JSON.stringify([document.documentElement.lang, ...card.files.map(({ index, path }) => [index, path])])
  if (!isOpen() || card.filesShown === key) return
  card.filesShown = key
  part('.files').replaceChildren(...card.files.map((file) => fileRow(infoHash, file)))
  const rest = part('.rest')
  rest.hidden = (torrent.fileCount ?? 0) <= card.files.length
  rest.textContent = text('restOfFiles', { shown: card.files.length, count: torrent.fileCount })
}

async function askForFiles (card) {
  if (card.files.length > 0 || card.isAsking) return
  card.isAsking = true
  const answer = await call(`api/torrents/${card.infoHash}`).then(({ data }) => data, () => null)
  card.isAsking = false
  if (answer !== null) card.files = answer.files ?? []
}

function fileRow (infoHash, file) {
  const row = document.createElement('li')
  const name = row.appendChild(document.createElement('span'))
  name.textContent = file.path || file.name
  name.dir = 'auto'
  row.appendChild(document.createElement('small')).textContent = size(file.length)
  if (file.isVideo) {
    const button = row.appendChild(document.createElement('button'))
    button.type = 'button'
    button.textContent = text('play')
    button.setAttribute('aria-label', `${text('play')}: ${isolateName(file.name)}`)
    button.addEventListener('click', () => { player.play({ infoHash, name: file.name, streamUrl: file.streamUrl, fileIndex: file.index, fileName: file.name }) })
  } else {
    const link = row.appendChild(document.createElement('a'))
    const url = streamAddress(infoHash, file.streamUrl)
    link.textContent = text('get')
    link.setAttribute('aria-label', `${text('get')}: ${isolateName(file.name)}`)
    link.href = `${url}${url.includes('?') ? '&' : '?'}download=true`
  }
  return row
}

async function remove ({ infoHash, torrent }) {
  if (!window.confirm(text('deleteAsk', { name: isolateName(torrent.name || isolate(infoHash)) }))) return
  // What plays would be cut off.
  if (player.isPlaying(infoHash)) player.stop()
  try {
    const { data: { deletedFiles } } = await call(`api/torrents/${infoHash}?deleteFiles=true`, { method: 'DELETE' })
    if (deletedFiles) drop(infoHash)
    say(text(deletedFiles ? 'deleted' : 'deletedButPlaced'))
    byId('torrents-title').focus()
  } catch (error) {
    say(error.message, true)
  }
}

/** Tells people what came of what they did. */
export function say (words, isError = false) {
  byId('message').textContent = words
  byId('message').classList.toggle('is-error', isError)
}

byId('filter').addEventListener('input', count)
byId('more').addEventListener('click', () => {
  wanted += pageLength
  load().catch((error) => { say(error.message, true) })
})
onLanguage(() => {
  for (const card of cards.values()) {
    translate(card.root)
    update(card, {})
    onEvent(card.infoHash)
  }
  applyFilter()
})
