// The page: adds torrents, follows them, plays them. What comes from the network is set as text, never as markup.

const LISTED = 100

const trackers = [
  'udp://explodie.org:6969', 'udp://tracker.coppersurfer.tk:6969', 'udp://tracker.empire-js.us:1337',
  'udp://tracker.leechers-paradise.org:6969', 'udp://tracker.opentrackr.org:1337', 'wss://tracker.btorrent.xyz',
  'wss://tracker.fastcast.nz', 'wss://tracker.openwebtorrent.com'
]
const examples = [
  film('Big Buck Bunny', 'dd8255ecdc7ca55fb0bbf81323d87062db1f6d1c', 'big-buck-bunny'),
  film('Sintel', '08ada5a7a6183aae1e09d831df6748d566095a10', 'sintel'),
  film('Tears of Steel', '209c8226b299b308beaf2b9cd3fb49212dbd13ec', 'tears-of-steel'),
  film('Cosmos Laundromat', 'c9e15763f722f23e98a29decdfae341b98d53056', 'cosmos-laundromat'),
  { title: 'Mock: plays without a network', link: '39730aa7c09b864432bc8c878c20c933059241fd' }
]
const states = {
  queued: 'Waiting to start',
  metadata: 'Looking for the list of files',
  downloading: 'Downloading',
  cached: 'Complete',
  ready: 'Ready to play',
  idle: 'Not running'
}
const isRunning = status => ['queued', 'metadata', 'downloading'].includes(status)

const byId = id => document.getElementById(id)
const video = byId('video')
const cards = new Map()
let playing = null

function film (title, infohash, slug) {
  const files = 'https://webtorrent.io/torrents/'
  const link = [`magnet:?xt=urn:btih:${infohash}`, `dn=${encodeURIComponent(title)}`, ...trackers.map(url => `tr=${encodeURIComponent(url)}`),
    `ws=${encodeURIComponent(files)}`, `xs=${encodeURIComponent(`${files}${slug}.torrent`)}`].join('&')
  return { title, link }
}

async function api (path, options) {
  const response = await fetch(`api/torrents${path}`, { ...options, signal: AbortSignal.timeout(20_000) })
    .catch(() => { throw new Error('The server does not answer.') })
  const body = await response.json().catch(() => ({}))
  if (response.ok) return body.data
  const text = [body.error, body.message].filter(Boolean).join(': ')
  throw Object.assign(new Error(text || `The server answered ${response.status}.`), { status: response.status })
}

function say (text, isError = false) {
  byId('message').textContent = text
  byId('message').classList.toggle('is-error', isError)
}

function size (bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1)
  return `${(bytes / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`
}

/** The server's links begin at its root, where a proxy with a path prefix does not listen. */
function resolve (url) {
  return new URL(url.replace(/^\/+/, ''), document.baseURI).href
}

async function add (link) {
  const button = byId('add').querySelector('.primary')
  button.disabled = true
  say('Adding…')
  try {
    const body = /^magnet:/i.test(link) ? { magnetUri: link } : { infoHash: link }
    const torrent = await api('', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })
    const card = show(torrent)
    byId('torrents').prepend(card.root)
    follow(card)
    byId('magnet').value = ''
    say(`Added ${torrent.name || torrent.infoHash}.`)
  } catch (error) {
    say(error.message, true)
  } finally {
    button.disabled = false
  }
}

function show (torrent) {
  let card = cards.get(torrent.infoHash)
  if (card === undefined) {
    card = create(torrent.infoHash)
    cards.set(torrent.infoHash, card)
    byId('torrents').append(card.root)
  }
  update(card, torrent)
  byId('empty').hidden = true
  return card
}

function create (infoHash) {
  const root = byId('card').content.firstElementChild.cloneNode(true)
  const part = selector => root.querySelector(selector)
  const card = { infoHash, root, part, torrent: { infoHash }, isFollowed: false, filesShown: '' }
  part('.name').id = `name-${infoHash}`
  part('.hash').textContent = infoHash
  part('progress').setAttribute('aria-labelledby', part('.name').id)
  for (const button of root.querySelectorAll('button')) button.setAttribute('aria-describedby', part('.name').id)
  part('.play').addEventListener('click', () => play(card, card.torrent.name || infoHash, card.torrent.streamUrl))
  part('.delete').addEventListener('click', () => remove(card))
  part('details').addEventListener('toggle', () => listFiles(card))
  return card
}

/** An answer may hold a part of the facts only: what it does not say stays as it was. */
function update (card, answer) {
  const torrent = card.torrent = { ...card.torrent, ...answer }
  const { part } = card
  const write = (selector, text) => { if (part(selector).textContent !== text) part(selector).textContent = text }
  const { status, progress = 0, downloaded = 0, length, downloadSpeed = 0, peers = 0, source, files = [] } = torrent

  write('.name', torrent.name || 'Name not known yet')
  write('.facts', [
    states[status] ?? status,
    length && (progress < 1 ? `${(progress * 100).toFixed(1)} % of ${size(length)}` : size(length)),
    isRunning(status) && `${size(downloadSpeed)}/s`,
    isRunning(status) && downloadSpeed > 0 && length > downloaded && `${Math.ceil((length - downloaded) / downloadSpeed / 60)} min left`,
    isRunning(status) && `peers: ${peers}`,
    source && `from ${source}`
  ].filter(Boolean).join(' · '))
  write('.reason', torrent.error || torrent.reason || '')
  part('.reason').classList.toggle('is-error', Boolean(torrent.error))
  part('progress').value = progress
  part('progress').hidden = !isRunning(status)
  part('details').hidden = files.length === 0
  write('summary', `Files: ${files.length}`)
  listFiles(card)
}

function listFiles (card) {
  const { files = [] } = card.torrent
  const key = JSON.stringify(files.map(file => [file.index, file.path]))
  if (!card.part('details').open || card.filesShown === key) return
  card.filesShown = key
  const rows = files.slice(0, 1000).map(file => {
    const row = document.createElement('li')
    const name = row.appendChild(document.createElement('span'))
    name.textContent = file.path || file.name
    name.dir = 'auto'
    row.appendChild(document.createElement('small')).textContent = size(file.length)
    if (file.isVideo) {
      const button = row.appendChild(document.createElement('button'))
      button.type = 'button'
      button.textContent = 'Play'
      button.addEventListener('click', () => play(card, file.name, file.streamUrl))
    } else {
      const link = row.appendChild(document.createElement('a'))
      link.textContent = 'Get'
      link.href = `${resolve(file.streamUrl)}${file.streamUrl.includes('?') ? '&' : '?'}download=true`
    }
    return row
  })
  card.part('.files').replaceChildren(...rows)
}

/** Asks every second while something can change: the torrent runs, or it is what plays. */
async function follow (card) {
  if (card.isFollowed) return
  card.isFollowed = true
  while (cards.get(card.infoHash) === card) {
    try {
      update(card, { error: undefined, ...await api(`/${card.infoHash}`) })
    } catch (error) {
      if (error.status === 404) return drop(card)
      update(card, { error: error.message })
    }
    if (!isRunning(card.torrent.status) && playing?.card !== card && !card.torrent.error) break
    await new Promise(resolve => setTimeout(resolve, 1000))
  }
  card.isFollowed = false
}

function play (card, name, streamUrl) {
  const url = resolve(streamUrl)
  playing = { card, url }
  byId('playing').textContent = name
  byId('trouble').textContent = ''
  byId('link').textContent = url
  byId('link').href = url
  byId('player').hidden = false
  video.src = url
  // A browser that wants another click first shows its own play button.
  video.play().catch(() => {})
  byId('player').scrollIntoView({ block: 'nearest' })
  follow(card)
}

/** The browser says only that it cannot play; the server says why, if it is the server. */
async function explain () {
  if (playing === null) return
  const { url } = playing
  let text = 'This browser cannot play the file: open the link below in VLC, mpv or another player.'
  try {
    const response = await fetch(url, { headers: { Range: 'bytes=0-0' }, signal: AbortSignal.timeout(20_000) })
    if (response.ok) {
      await response.body.cancel()
    } else {
      const body = await response.json()
      text = [body.message ?? body.error, ...(body.reasons ?? []).map(({ source, message }) => `${source}: ${message}`)].join(' · ')
    }
  } catch {
    text = 'The server does not answer.'
  }
  if (playing?.url === url) byId('trouble').textContent = text
}

async function remove (card) {
  if (!window.confirm(`Delete "${card.torrent.name || card.infoHash}" and what was downloaded of it?`)) return
  try {
    await api(`/${card.infoHash}?deleteFiles=true`, { method: 'DELETE' })
    drop(card)
    say('Deleted.')
    byId('torrents-title').focus()
  } catch (error) {
    say(error.message, true)
  }
}

function drop (card) {
  cards.delete(card.infoHash)
  card.root.remove()
  byId('empty').hidden = cards.size > 0
  if (playing?.card !== card) return
  playing = null
  video.removeAttribute('src')
  video.load()
  byId('player').hidden = true
}

for (const { title, link } of examples) {
  const button = byId('examples').appendChild(document.createElement('button'))
  button.type = 'button'
  button.textContent = title
  button.addEventListener('click', () => add(link))
}
byId('add').addEventListener('submit', event => {
  event.preventDefault()
  add(byId('magnet').value.trim())
})
video.addEventListener('error', explain)

try {
  const torrents = await api(`?limit=${LISTED}`)
  // The list has no files; each torrent by itself has them.
  for (const torrent of torrents) follow(show(torrent))
  if (torrents.length === LISTED) say(`The first ${LISTED} torrents are shown.`)
} catch (error) {
  say(`The list of torrents cannot be shown: ${error.message}`, true)
}
