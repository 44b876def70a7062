import { isIP } from 'node:net'

/** What the text of a value may be: a few words for the message, and the check. */
export interface Format {
  readonly expects: string
  readonly accepts: (text: string) => boolean
}

const hostName = /^(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?$/i
const placeholders = new Set(['hash', 'HASH', 'index', 'index1', 'path', 'name'])

function isHost (text: string): boolean {
  return isIP(text) !== 0 || hostName.test(text)
}

function isHostAndPort (text: string): boolean {
  const [, v6, host, port] = /^(?:\[(.+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text) ?? []
  const isAddress = v6 === undefined ? isHost(host ?? '') : isIP(v6) === 6
  return isAddress && Number(port) >= 1 && Number(port) <= 65535
}

function isUrl (text: string, schemes: readonly string[]): boolean {
  // URL.parse forgives http:host and http:///host, which other clients read otherwise.
  const url = /^[a-z]+:\/\/[^/\s]\S*$/i.test(text) ? URL.parse(text) : null
  return url !== null && schemes.includes(url.protocol.slice(0, -1)) && url.hostname !== ''
}

function isTracker (text: string): boolean {
  // A UDP tracker has no default port, so an address without one can never be asked.
  return isUrl(text, ['http', 'https', 'ws', 'wss']) || (isUrl(text, ['udp']) && URL.parse(text)?.port !== '')
}

/** RFC 7065. Without a port it is 3478, for turns 5349. */
function isTurnUrl (text: string): boolean {
  const [, place = ''] = /^turns?:(.+?)(?:\?transport=(?:udp|tcp))?$/.exec(text) ?? []
  return isHostAndPort(place) || isHostAndPort(`${place}:3478`)
}

function isTemplate (text: string, needed: readonly string[]): boolean {
  const names = Array.from(text.matchAll(/\{(.*?)\}/g), ([, name]) => name ?? '')
  return names.every(name => placeholders.has(name)) && names.some(name => needed.includes(name)) &&
    isUrl(text.replaceAll(/\{.*?\}/g, 'x'), ['http', 'https'])
}

function isAddressRange (text: string): boolean {
  const [, address, bits] = /^([^/]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const version = isIP(address ?? '')
  return version !== 0 && Number(bits ?? 0) <= (version === 4 ? 32 : 128)
}

/** Formats of single values and of list entries, by the name that the schema gives in `format`. */
export const formats: Readonly<Record<string, Format>> = {
  host: { expects: 'an IP address or a host name', accepts: isHost },
  path: { expects: 'a path', accepts: text => !text.includes('\0') },
  token: { expects: 'visible ASCII characters without a space', accepts: text => /^[\x21-\x7e]+$/.test(text) },
  // Paths are added to it, which a query or a fragment would swallow.
  'http-url': { expects: 'an http or https URL without a query', accepts: text => isUrl(text, ['http', 'https']) && !/[?#]/.test(text) },
  hosts: { expects: 'IP addresses or host names', accepts: isHost },
  paths: { expects: 'paths', accepts: text => !text.includes('\0') },
  'manifest-urls': { expects: 'http or https URLs that end in /manifest.json', accepts: text => isUrl(text, ['http', 'https']) && URL.parse(text)?.pathname.endsWith('/manifest.json') === true },
  endpoints: { expects: 'host:port pairs', accepts: isHostAndPort },
  trackers: { expects: 'tracker URLs (udp with a port, http, https, ws or wss)', accepts: isTracker },
  'turn-urls': { expects: 'TURN URLs (turn:host:port or turns:host:port)', accepts: isTurnUrl },
  origins: { expects: 'origins such as https://example.org, or *', accepts: text => text === '*' || (isUrl(text, ['http', 'https']) && URL.parse(text)?.origin === text.toLowerCase()) },
  proxies: { expects: 'IP addresses, ranges such as 10.0.0.0/8, or loopback, linklocal, uniquelocal', accepts: text => isAddressRange(text) || ['loopback', 'linklocal', 'uniquelocal'].includes(text) },
  'metadata-templates': { expects: 'http or https URLs with {hash} or {HASH}', accepts: text => isTemplate(text, ['hash', 'HASH']) },
  'mirror-templates': { expects: 'http or https URLs with {hash}, {HASH}, {index}, {index1}, {path} or {name} and no other {…}, trusted: before them or not', accepts: text => isTemplate(text.replace(/^trusted:/i, ''), [...placeholders]) }
}
