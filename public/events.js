import { address } from './api.js'

const names = ['ready', 'reset', 'added', 'removed', 'progress', 'start', 'started', 'refused', 'source', 'lost', 'stall', 'end', 'cache', 'network']
const silenceMs = 5_000

/**
 * Follows the server's events from `lastEventId` on. EventSource comes back by itself and asks for what it missed. While
 * nothing gets through (the server is gone, a proxy gathers), `onSilent` is called again and again instead.
 */
export function follow ({ lastEventId, onEvent, onSilent, onState }) {
  let source
  let isOpen = false

  function connect (from) {
    source = new window.EventSource(address(`api/events${from ? `?lastEventId=${encodeURIComponent(from)}` : ''}`))
    source.addEventListener('open', () => { tell(true) })
    source.addEventListener('error', () => { tell(false) })
    for (const name of names) source.addEventListener(name, ({ data }) => { onEvent(name, JSON.parse(data)) })
  }

  function tell (state) {
    if (isOpen === state) return
    isOpen = state
    onState(state)
  }

  connect(lastEventId)
  setInterval(() => {
    if (isOpen) return
    onSilent()
    // One that the server refused does not come back by itself.
    if (source.readyState === window.EventSource.CLOSED) connect('')
  }, silenceMs)
}
