// Makes an address to install the Stremio addon by.

import { call } from './api.js'
import { preferredLanguage, setLanguage, text } from './i18n.js'
import { recall } from './memory.js'

const byId = (id) => document.getElementById(id)

function say (message, isError = false) {
  byId('message').textContent = message
  byId('message').classList.toggle('is-error', isError)
}

/** What the other addons are, and which of them cannot be read now. */
function show (addons) {
  byId('addons').replaceChildren(...addons.map(({ url, name, problem }) => {
    const item = document.createElement('li')
    item.dir = 'auto'
    item.textContent = name ?? text('addonSilent', { url, problem })
    item.classList.toggle('is-error', name === null)
    return item
  }))
  byId('addons-part').hidden = addons.length === 0
}

async function make () {
  const button = byId('configure').querySelector('.primary')
  button.disabled = true
  say('')
  try {
    const upstreams = byId('upstreams').value.split(/\s+/).filter(Boolean)
    const body = JSON.stringify({ upstreams, catalogs: byId('catalogs').checked, secretPath: byId('secret-path').checked })
    const { data } = await call('api/stremio/install', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })
    byId('manifest-url').textContent = data.manifestUrl
    byId('install').href = data.installUrl
    byId('web').href = data.webUrl
    byId('unreachable').hidden = data.isReachable
    show(data.addons)
    byId('made').hidden = false
    byId('made-title').focus()
  } catch (error) {
    byId('made').hidden = true
    say(error.message, true)
    if (error.status === 401) byId('login').hidden = false
  } finally {
    button.disabled = false
  }
}

async function copy () {
  const address = byId('manifest-url').textContent
  try {
    await navigator.clipboard.writeText(address)
    say(text('copied'))
  } catch {
    // Without https a browser has no clipboard.
    window.prompt(text('copyThis'), address)
  }
}

/** What an installed addon is set to: its address has led here. */
async function recallSettings () {
  const [, config] = /^#(cfg-[\w-]+)$/.exec(window.location.hash) ?? []
  if (config === undefined) return
  const { data } = await call(`api/stremio/install/${config}`)
  byId('upstreams').value = data.upstreams.join('\n')
  byId('catalogs').checked = data.catalogs
  show(data.addons)
}

setLanguage(preferredLanguage(recall('language'), navigator.languages))
document.documentElement.dataset.theme = recall('theme') ?? 'auto'
byId('configure').addEventListener('submit', (event) => {
  event.preventDefault()
  make()
})
byId('copy').addEventListener('click', () => { copy() })
recallSettings().catch((error) => { say(error.message, true) })
call('api/session').then(({ data }) => {
  byId('login').hidden = !data.loginNeeded
  byId('proxy').hidden = !data.isProxyIgnored
}).catch((error) => { say(error.message, true) })
