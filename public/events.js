import { address } from './api.js'

const names = ['ready', 'reset', 'added', 'removed', 'progress', 'start', 'started', 'refused', 'source', 'lost', 'stall', 'end', 'cache', 'network']
const silenceMs = 5_000

/**
 * Follows the server's events from `lastEventId` on. EventSource comes back by itself and asks for what it missed. While
 * nothing gets through (the server is gone, a proxy gathers), `onSilent` is called again and again instead. A page that
 * nobody sees gives its connection back, since a browser has six for all pages of a server: when it is looked at again it
 * gets what it missed.
 */
export function follow ({ lastEventId, onEvent, onSilent, onState }) {
  let source = null
  let lastId = lastEventId
  let isOpen = false

  function connect () {
    const mine = source = new window.EventSource(address(`api/events${lastId ? `?lastEventId=${encodeURIComponent(lastId)}` : ''}`))
    source.addEventListener('open', () => { if (source === mine) tell(true) })
    source.addEventListener('error', () => { if (source === mine) tell(false) })
    for (const name of names) {
      source.addEventListener(name, (event) => {
        if (source !== mine) return
        lastId = event.lastEventId || lastId
        onEvent(name, JSON.parse(event.data))
      })
    }
  }

  function tell (state) {
    if (isOpen === state) return
    isOpen = state
    onState(state)
  }

  function onVisibility () {
    if (!document.hidden && source === null) return connect()
    if (!document.hidden) return
    source?.close()
    source = null
    isOpen = false
  }

  onVisibility()
  document.addEventListener('visibilitychange', onVisibility)
  setInterval(() => {
    if (isOpen || source === null) return
    onSilent()
    // One that the server refused does not come back by itself.
    if (source.readyState === window.EventSource.CLOSED) connect()
  }, silenceMs)
}
