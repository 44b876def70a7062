import { address, call } from './api.js'

const byId = (id) => document.getElementById(id)

/** Shows the way to log in where that would allow more, and the way out where it does. */
export async function showSession () {
  const { data: { loginNeeded, isLoggedIn, isProxyIgnored } } = await call('api/session')
  byId('login').hidden = !loginNeeded
  byId('logout').hidden = !isLoggedIn
  byId('proxy').hidden = !isProxyIgnored
}

export async function logOut () {
  await call('api/session', { method: 'DELETE' })
  window.location.replace(address('.'))
}
