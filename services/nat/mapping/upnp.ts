import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { Agent, request } from 'undici'
import { pause } from '../../deadline.ts'
import { closeSocket } from '../discover.ts'
import { RouterError } from './router.ts'
import type { Place, Router, Wish } from './router.ts'

/** UPnP Internet Gateway Devices, 1 and 2: found by SSDP, asked by SOAP over HTTP. */

const group = '239.255.255.250'
const groupPort = 1900
/** Some routers answer only for the one or the other. */
const searchTargets = ['urn:schemas-upnp-org:device:InternetGatewayDevice:1', 'urn:schemas-upnp-org:device:InternetGatewayDevice:2', 'urn:schemas-upnp-org:service:WANIPConnection:1', 'urn:schemas-upnp-org:service:WANPPPConnection:1']
/** Datagrams get lost on wireless networks: it is asked so often, with this between. */
const searches = 3
const searchPauseMs = 600
/** The services that forward ports. */
const serviceType = /^urn:schemas-upnp-org:service:(?:WANIPConnection:[12]|WANPPPConnection:1)$/
const longestDocument = 256 * 1024
/** External ports that are tried where others have them. */
const externalTries = 5

/** Errors of UPnP's actions that something can be done about (WANIPConnection:1, section 2.4.16). */
const conflict = 718
const onlyPermanent = [725, 402]
const noSuchEntry = 714

interface Service {
  readonly type: string
  readonly control: URL
}

/** The first device that answers and can forward ports. Rejects with a RouterError where there is none, or with the signal's reason. */
export async function findUpnp (place: Place, signal: AbortSignal): Promise<Router> {
  const agent = new Agent({ connections: 4, pipelining: 0 })
  const ask = new Soap(agent)
  try {
    const services = await search(place, signal, async (location) => await ask.services(location, signal))
    let disconnected: Service | null = null
    for (const service of services) {
      // Routers have services for links that they do not use.
      const address = await ask.externalAddress(service, signal).catch(refusal)
      if (typeof address === 'string') return upnpRouter(ask, service, place)
      if (address === null) disconnected ??= service
    }
    if (disconnected !== null) return upnpRouter(ask, disconnected, place)
    throw new RouterError('no answer by UPnP')
  } catch (error) {
    await agent.destroy()
    throw error
  }
}

/** A router that says no is one that can be asked for something else. */
function refusal (error: unknown): undefined {
  if (!(error instanceof RouterError)) throw error
}

function upnpRouter (ask: Soap, service: Service, { local }: Place): Router {
  const add = async ({ transport, port }: Wish, externalPort: number, lifetimeSeconds: number, signal: AbortSignal): Promise<number> => {
    try {
      await ask.call(service, 'AddPortMapping', [
        ['NewRemoteHost', ''], ['NewExternalPort', externalPort], ['NewProtocol', transport.toUpperCase()], ['NewInternalPort', port],
        ['NewInternalClient', local], ['NewEnabled', 1], ['NewPortMappingDescription', 'Self-Streme'], ['NewLeaseDuration', lifetimeSeconds]
      ], signal)
      return lifetimeSeconds
    } catch (error) {
      if (lifetimeSeconds === 0 || !(error instanceof SoapError && onlyPermanent.includes(error.upnpCode))) throw error
      return await add({ transport, port, externalPort, lifetimeSeconds }, externalPort, 0, signal)
    }
  }
  const remove = async ({ transport }: Wish, externalPort: number, signal: AbortSignal): Promise<void> => {
    try {
      await ask.call(service, 'DeletePortMapping', [['NewRemoteHost', ''], ['NewExternalPort', externalPort], ['NewProtocol', transport.toUpperCase()]], signal)
    } catch (error) {
      if (!(error instanceof SoapError && error.upnpCode === noSuchEntry)) throw error
    }
  }
  return {
    protocol: 'UPnP',
    async map (wish, signal) {
      let { externalPort } = wish
      for (let tries = 1; ; tries++) {
        try {
          const lifetimeSeconds = await add(wish, externalPort, wish.lifetimeSeconds, signal)
          return { externalPort, lifetimeSeconds, externalAddress: await ask.externalAddress(service, signal) }
        } catch (error) {
          if (!(error instanceof SoapError && error.upnpCode === conflict) || tries === externalTries) throw error
          // Somebody else of this network has it.
          externalPort = 1024 + (wish.externalPort + tries * 7_919) % 64_000
        }
      }
    },
    async unmap (wish, signal) { await remove(wish, wish.externalPort, signal) }
  }
}

/** A device's "no". */
class SoapError extends RouterError {
  readonly upnpCode: number

  constructor (code: number, description: string) {
    super(`the router refuses (UPnP: ${code} ${description})`)
    this.upnpCode = code
  }
}

class Soap {
  readonly #agent: Agent

  constructor (agent: Agent) {
    this.#agent = agent
  }

  /** The services of a device that forward ports, from its description. */
  async services (location: URL, signal: AbortSignal): Promise<Service[]> {
    const { text } = await this.#fetch(location, { method: 'GET' }, signal)
    const base = URL.parse(elementOf(text, 'URLBase') ?? '') ?? location
    return [...text.matchAll(/<service>([\s\S]*?)<\/service>/gi)].flatMap(([, block = '']) => {
      const type = elementOf(block, 'serviceType') ?? ''
      const control = URL.parse(elementOf(block, 'controlURL') ?? '', base.href)
      // A device speaks for itself only.
      return serviceType.test(type) && control !== null && isAt(control, location.hostname) ? [{ type, control }] : []
    })
  }

  async externalAddress (service: Service, signal: AbortSignal): Promise<string | null> {
    const address = elementOf(await this.call(service, 'GetExternalIPAddress', [], signal), 'NewExternalIPAddress') ?? ''
    return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(address) && address !== '0.0.0.0' ? address : null
  }

  /** What the device answers; rejects with a SoapError when it says no. */
  async call ({ type, control }: Service, action: string, values: ReadonlyArray<readonly [string, string | number]>, signal: AbortSignal): Promise<string> {
    const body = `<?xml version="1.0"?>\r\n<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body><u:${action} xmlns:u="${type}">${
      values.map(([name, value]) => `<${name}>${value}</${name}>`).join('')}</u:${action}></s:Body></s:Envelope>\r\n`
    const { status, text } = await this.#fetch(control, { method: 'POST', body, headers: { 'Content-Type': 'text/xml; charset="utf-8"', SOAPAction: `"${type}#${action}"` } }, signal)
    const code = Number(elementOf(text, 'errorCode'))
    if (code > 0) throw new SoapError(code, (elementOf(text, 'errorDescription') ?? '').slice(0, 100))
    if (status !== 200 || !text.includes(`${action}Response`)) throw new RouterError(`the router's answer makes no sense (UPnP: HTTP ${status})`)
    return text
  }

  async #fetch (url: URL, { method, body = null, headers = {} }: { method: 'GET' | 'POST', body?: string | null, headers?: Record<string, string> }, signal: AbortSignal): Promise<{ status: number, text: string }> {
    try {
      const reply = await request(url, { method, body, headers, signal, dispatcher: this.#agent, reset: true })
      const chunks: Uint8Array[] = []
      let length = 0
      for await (const chunk of reply.body) {
        if (!(chunk instanceof Uint8Array)) continue
        chunks.push(chunk)
        length += chunk.length
        if (length > longestDocument) throw new RouterError('the router\'s answer makes no sense (UPnP: it is too long)')
      }
      return { status: reply.statusCode, text: Buffer.concat(chunks).toString('utf8') }
    } catch (error) {
      signal.throwIfAborted()
      if (error instanceof RouterError) throw error
      throw new RouterError(`the router does not talk to us (UPnP: ${error instanceof Error ? error.message : String(error)})`, { cause: error })
    }
  }
}

/**
 * Asks the network for gateways, and each that answers for what it can do; resolves with the first that can do
 * something. Only answers that speak of their own sender count.
 */
async function search ({ gateway, local }: Place, signal: AbortSignal, look: (location: URL) => Promise<Service[]>): Promise<Service[]> {
  const socket = createSocket('udp4')
  const found = Promise.withResolvers<Service[]>()
  found.promise.catch(() => {})
  const seen = new Set<string>()
  const over = new AbortController()
  let lastError = new RouterError('no answer by UPnP')
  socket.on('error', (error) => { found.reject(new RouterError(`no answer by UPnP (${error.message})`)) })
  socket.on('message', (reply, sender) => {
    const location = URL.parse(/^location:\s*(\S+)/im.exec(reply.toString('latin1'))?.[1] ?? '')
    if (location === null || !isAt(location, sender.address) || seen.has(location.href) || seen.size > 8) return
    seen.add(location.href)
    look(location).then(
      (services) => { if (services.length > 0) found.resolve(services) },
      (error: unknown) => { if (error instanceof RouterError) lastError = error }
    )
  })
  try {
    socket.bind(0, local)
    await once(socket, 'listening', { signal })
    socket.setMulticastInterface(local)
    const sending = (async () => {
      const ours = AbortSignal.any([over.signal, signal])
      for (let i = 0; i < searches; i++) {
        for (const target of searchTargets) {
          const text = `M-SEARCH * HTTP/1.1\r\nHOST: ${group}:${groupPort}\r\nMAN: "ssdp:discover"\r\nMX: 1\r\nST: ${target}\r\n\r\n`
          socket.send(text, groupPort, group, () => {})
          // UPnP 1.1 (section 1.3.2): where multicast does not get through, the router itself may be asked.
          socket.send(text, groupPort, gateway, () => {})
        }
        await pause(searchPauseMs, ours)
      }
      // MX: they may take a second to answer, and then have to be looked at.
      await pause(2 * searchPauseMs, ours)
      throw lastError
    })()
    return await Promise.race([found.promise, sending])
  } finally {
    over.abort()
    await closeSocket(socket)
  }
}

function isAt (url: URL, host: string): boolean {
  return url.protocol === 'http:' && url.hostname === host
}

/** The text of the first element with this name, whatever its prefix. */
function elementOf (xml: string, name: string): string | null {
  const [, text] = new RegExp(`<(?:[\\w.-]+:)?${name}(?:\\s[^>]*)?>\\s*([^<]*?)\\s*</`, 'i').exec(xml) ?? []
  return text?.replaceAll('&amp;', '&') ?? null
}
