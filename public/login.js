// Logs in: with the token behind the # of the login link, which no server and no Referer sees, or with one that is typed.

import { address, call } from './api.js'
import { preferredLanguage, setLanguage, text } from './i18n.js'
import { recall } from './memory.js'

const byId = (id) => document.getElementById(id)

async function logIn (token) {
  const button = byId('login').querySelector('.primary')
  button.disabled = true
  byId('message').textContent = text('loginTrying')
  try {
    await call('api/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ token }) })
    window.location.replace(address('.'))
  } catch (error) {
    byId('message').textContent = error.status === 401 ? text('loginWrong') : error.message
    byId('message').classList.add('is-error')
    button.disabled = false
    byId('token').focus()
  }
}

setLanguage(preferredLanguage(recall('language'), navigator.languages))
document.documentElement.dataset.theme = recall('theme') ?? 'auto'
byId('login').addEventListener('submit', (event) => {
  event.preventDefault()
  logIn(byId('token').value.trim())
})

const [, linked] = /^#token=(.+)$/.exec(window.location.hash) ?? []
if (linked !== undefined) {
  // Out of the address bar and the history, whatever comes of it.
  window.history.replaceState(null, '', address('login'))
  logIn(decodeURIComponent(linked))
} else {
  byId('token').focus()
}
