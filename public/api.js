import { text } from './i18n.js'

/** Addresses begin where the page lies, so that it works behind a path prefix. */
const root = new URL('.', document.baseURI)

export function address (path) {
  return new URL(path, root).href
}

/** The address of a file's stream as this browser reaches it; what the server's own link asks for besides is kept. */
export function streamAddress (infoHash, streamUrl) {
  return address(`stream/proxy/${infoHash}${new URL(streamUrl, root).search}`)
}

/**
 * Asks the API. Returns the body's data, with what stands beside it in `facts`; throws an Error whose message is for
 * people, and which has the status.
 */
export async function call (path, { timeoutMs = 20_000, ...options } = {}) {
  const response = await fetch(address(path), { cache: 'no-store', ...options, signal: AbortSignal.timeout(timeoutMs) })
    .catch(() => { throw new Error(text('serverSilent')) })
  const body = await response.json().catch(() => ({}))
  if (response.ok) return { data: body.data, facts: body }
  throw Object.assign(new Error(reasonOf(body) || text('serverSaid', { status: response.status })), { status: response.status })
}

/** What an error of the server says, reasons included. */
export function reasonOf ({ error, message, reasons = [] }) {
  return [[error, message].filter(Boolean).join(': '), ...reasons.map(({ source, message }) => `${source}: ${message}`)].filter(Boolean).join(' · ')
}
