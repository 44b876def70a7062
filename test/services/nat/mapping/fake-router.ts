import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { Place } from '../../../../services/nat/mapping/router.ts'

let count = 0

/** An address of loopback that nobody else in the tests has, for the ports of routers are fixed. */
export function makePlace (): Place {
  count++
  return { gateway: `127.${60 + process.pid % 190}.${(process.pid >> 8) % 250}.${count}`, local: '127.0.0.1' }
}

/** Answers each datagram to this port of the gateway with what `reply` makes of it. */
export async function startUdp (t: Test, { gateway }: Place, port: number, reply: (request: Buffer) => Buffer | string | null | Array<Buffer | string>): Promise<Buffer[]> {
  const socket = createSocket('udp4')
  const requests: Buffer[] = []
  socket.on('message', (request, { address, port }) => {
    requests.push(request)
    for (const answer of [reply(request) ?? []].flat()) socket.send(answer, port, address)
  })
  socket.bind(port, gateway)
  await once(socket, 'listening')
  t.teardown(() => { socket.close() })
  return requests
}

export interface FakeDevice {
  /** What the device's description says of it. */
  description: string
  /** SOAP actions as they came: name and values. */
  readonly calls: Array<{ readonly action: string, readonly values: Record<string, string> }>
  readonly location: string
}

/** A UPnP device at the gateway that answers SSDP and SOAP. `answer` gives the XML of an action, or a status and a text. */
export async function startDevice (t: Test, place: Place, answer: (action: string, values: Record<string, string>) => string | { status: number, body: string }, location?: string): Promise<FakeDevice> {
  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let body = ''
    for await (const chunk of request) body += String(chunk)
    response.setHeader('Content-Type', 'text/xml')
    if (request.method === 'GET') {
      response.end(device.description)
      return
    }
    const action = /#(\w+)"$/.exec(String(request.headers['soapaction']))?.[1] ?? ''
    const values = Object.fromEntries([...body.matchAll(/<(New\w+)>([^<]*)</g)].map(([, name = '', value = '']) => [name, value]))
    device.calls.push({ action, values })
    const given = answer(action, values)
    if (typeof given === 'object') {
      response.statusCode = given.status
      response.end(given.body)
    } else {
      response.end(`<?xml version="1.0"?><s:Envelope><s:Body><u:${action}Response>${given}</u:${action}Response></s:Body></s:Envelope>`)
    }
  }
  const server = createServer((request, response) => { handle(request, response).catch(() => { response.destroy() }) })
  server.listen(0, place.gateway)
  await once(server, 'listening')
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const address = server.address()
  const at = `http://${place.gateway}:${address !== null && typeof address === 'object' ? address.port : 0}/rootDesc.xml`
  const device: FakeDevice = { description: describe('urn:schemas-upnp-org:service:WANIPConnection:1', '/ctl'), calls: [], location: at }
  await startUdp(t, place, 1900, (request) => request.includes('InternetGatewayDevice:1') ? `HTTP/1.1 200 OK\r\nST: x\r\nLocation: ${location ?? at}\r\n\r\n` : null)
  return device
}

/** The description of a device with this service. */
export function describe (type: string, control: string): string {
  return `<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device><serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType><controlURL>/l3f</controlURL></service></serviceList>
    <deviceList><device><serviceList><service>
      <serviceType>${type}</serviceType>
      <controlURL>${control}</controlURL>
    </service></serviceList></device></deviceList></device></root>`
}

/** A device's refusal. */
export function soapFault (code: number, description: string): { status: number, body: string } {
  return { status: 500, body: `<s:Envelope><s:Body><s:Fault><detail><UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>${code}</errorCode><errorDescription>${description}</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>` }
}
