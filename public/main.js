// The page: adds torrents, follows them, plays them. What comes from the network is set as text, never as markup.

import { call } from './api.js'
import * as cache from './cache.js'
import { follow } from './events.js'
import { examples } from './examples.js'
import { isolateName } from './format.js'
import { preferredLanguage, setLanguage, text } from './i18n.js'
import { recall, remember } from './memory.js'
import * as network from './network.js'
import * as player from './player.js'
import { logOut, showSession } from './session.js'
import * as timeline from './timeline.js'
import * as torrents from './torrents.js'

const byId = (id) => document.getElementById(id)
const largestTorrent = 10 * 1024 * 1024
const told = ['start', 'started', 'refused', 'source', 'lost', 'stall', 'end']

function setTheme (name) {
  document.documentElement.dataset.theme = name
}

async function post (options) {
  const button = byId('add').querySelector('.primary')
  button.disabled = true
  torrents.say(text('adding'))
  try {
    const { data: torrent } = await call('api/torrents', { method: 'POST', ...options })
    torrents.toTop(torrents.show(torrent))
    byId('magnet').value = ''
    torrents.say(text('added', { name: isolateName(torrent.name || torrent.infoHash) }))
  } catch (error) {
    torrents.say(error.message, true)
  } finally {
    button.disabled = false
  }
}

async function addLink (link) {
  const body = /^magnet:/i.test(link) ? { magnetUri: link } : { infoHash: link }
  await post({ headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
}

async function addFile (file) {
  const name = isolateName(file.name)
  if (file.size > largestTorrent) return torrents.say(text('fileTooLarge', { name }), true)
  // A folder has no bytes to read.
  const bytes = await file.arrayBuffer().catch(() => new ArrayBuffer(0))
  if (new Uint8Array(bytes)[0] !== 'd'.charCodeAt(0)) return torrents.say(text('notATorrent', { name }), true)
  await post({ headers: { 'Content-Type': 'application/x-bittorrent' }, body: bytes })
}

function onEvent (name, event) {
  if (told.includes(name)) {
    timeline.remember(name, event)
    player.onEvent(event.infoHash)
    torrents.onEvent(event.infoHash)
  }
  if (name === 'progress') torrents.show(event)
  else if (name === 'removed') torrents.drop(event.infoHash)
  else if (name === 'reset' || name === 'ready') startAgain()
  else if (name === 'network') network.refresh()
  if (name === 'cache' || name === 'removed') cache.refresh()
}

let hasFailed = false

/** Returns the id of the event from which on to follow; empty: nobody knows. */
async function reload () {
  try {
    const lastEventId = await torrents.load()
    if (hasFailed) torrents.say('')
    hasFailed = false
    return lastEventId
  } catch (error) {
    hasFailed = true
    torrents.say(text('listFailed', { reason: error.message }), true)
    return ''
  }
}

/** What was missed is not known. */
function startAgain () {
  reload()
  cache.refresh()
  network.refresh()
}

for (const { title, key, link } of examples) {
  const button = byId('examples').appendChild(document.createElement('button'))
  button.type = 'button'
  if (key === undefined) button.textContent = title
  else button.dataset.t = key
  button.addEventListener('click', () => { addLink(link) })
}

byId('add').addEventListener('submit', (event) => {
  event.preventDefault()
  addLink(byId('magnet').value.trim())
})
byId('choose-file').addEventListener('click', () => { byId('torrent-file').click() })
byId('torrent-file').addEventListener('change', ({ target }) => {
  for (const file of target.files) addFile(file)
  target.value = ''
})
document.addEventListener('dragover', (event) => { event.preventDefault() })
document.addEventListener('drop', (event) => {
  event.preventDefault()
  const { files } = event.dataTransfer
  const link = event.dataTransfer.getData('text/plain').trim()
  for (const file of files) addFile(file)
  if (files.length === 0 && link !== '') addLink(link)
})

const choices = { language: (value) => { setLanguage(value) }, theme: (value) => { setTheme(value) } }
byId('language').value = preferredLanguage(recall('language'), navigator.languages)
byId('theme').value = recall('theme') ?? 'auto'
for (const [name, apply] of Object.entries(choices)) {
  const choice = byId(name)
  if (choice.value === '') choice.selectedIndex = 0
  apply(choice.value)
  choice.addEventListener('change', () => {
    remember(name, choice.value)
    apply(choice.value)
  })
}

byId('logout').addEventListener('click', () => { logOut().catch((error) => { torrents.say(error.message, true) }) })
showSession().catch(() => { /* The list says so, too. */ })

let wasLost = false
follow({
  lastEventId: await reload(),
  onEvent,
  onSilent: reload,
  onState (isOpen) {
    if (!isOpen) torrents.say(text('offline'), true)
    else if (wasLost) torrents.say('')
    wasLost = !isOpen
  }
})
