import t from 'tap'
import { findUpnp } from '../../../../services/nat/mapping/upnp.ts'
import { describe, makePlace, soapFault, startDevice, startUdp } from './fake-router.ts'

const signal = (ms = 10_000): AbortSignal => AbortSignal.timeout(ms)
const wish = { transport: 'udp', port: 6881, externalPort: 6881, lifetimeSeconds: 3_600 } as const
const own = '<NewExternalIPAddress>45.67.1.2</NewExternalIPAddress>'

t.test('a port is mapped and taken back', async (t) => {
  const place = makePlace()
  const device = await startDevice(t, place, (action) => action === 'GetExternalIPAddress' ? own : '')
  const router = await findUpnp(place, signal())
  t.equal(router.protocol, 'UPnP')
  t.same(await router.map(wish, signal()), { externalPort: 6881, externalAddress: '45.67.1.2', lifetimeSeconds: 3_600 })
  await router.unmap({ ...wish, externalPort: 7_000 }, signal())
  t.same(device.calls.filter(({ action }) => action !== 'GetExternalIPAddress'), [
    { action: 'AddPortMapping', values: { NewRemoteHost: '', NewExternalPort: '6881', NewProtocol: 'UDP', NewInternalPort: '6881', NewInternalClient: '127.0.0.1', NewEnabled: '1', NewPortMappingDescription: 'Self-Streme', NewLeaseDuration: '3600' } },
    { action: 'DeletePortMapping', values: { NewRemoteHost: '', NewExternalPort: '7000', NewProtocol: 'UDP' } }
  ])
})

t.test('every kind of gateway is understood', async (t) => {
  for (const [type, control] of [['urn:schemas-upnp-org:service:WANIPConnection:2', 'ctl'], ['urn:schemas-upnp-org:service:WANPPPConnection:1', '/a?b=1&amp;c=2']] as const) {
    const place = makePlace()
    const device = await startDevice(t, place, (action) => action === 'GetExternalIPAddress' ? own : '')
    device.description = describe(type, control)
    t.equal((await (await findUpnp(place, signal())).map(wish, signal())).externalAddress, '45.67.1.2', type)
  }
})

t.test('725, and whatever else means it: the router keeps ports only for ever', async (t) => {
  for (const code of [725, 402]) {
    const place = makePlace()
    const device = await startDevice(t, place, (action, { NewLeaseDuration }) => action === 'AddPortMapping' && NewLeaseDuration !== '0' ? soapFault(code, 'OnlyPermanentLeasesSupported') : own)
    const mapped = await (await findUpnp(place, signal())).map(wish, signal())
    t.match(mapped, { externalPort: 6881, lifetimeSeconds: 0 })
    t.same(device.calls.filter(({ action }) => action === 'AddPortMapping').map(({ values }) => values['NewLeaseDuration']), ['3600', '0'])
  }
})

t.test('718: somebody else has the external port -> another one', async (t) => {
  const place = makePlace()
  await startDevice(t, place, (action, { NewExternalPort }) => action === 'AddPortMapping' && NewExternalPort === '6881' ? soapFault(718, 'ConflictInMappingEntry') : own)
  const { externalPort } = await (await findUpnp(place, signal())).map(wish, signal())
  t.ok(externalPort !== 6881 && externalPort >= 1_024 && externalPort <= 65_535, String(externalPort))
  const full = makePlace()
  const device = await startDevice(t, full, (action) => action === 'AddPortMapping' ? soapFault(718, 'ConflictInMappingEntry') : own)
  await t.rejects((await findUpnp(full, signal())).map(wish, signal()), { message: 'the router refuses (UPnP: 718 ConflictInMappingEntry)' })
  t.equal(device.calls.filter(({ action }) => action === 'AddPortMapping').length, 5, 'not for ever')
})

t.test('a refusal is in words, and what is not there need not be taken back', async (t) => {
  const place = makePlace()
  await startDevice(t, place, (action) => {
    if (action === 'AddPortMapping') return soapFault(606, 'Action not authorized')
    return action === 'DeletePortMapping' ? soapFault(714, 'NoSuchEntryInArray') : own
  })
  const router = await findUpnp(place, signal())
  await t.rejects(router.map(wish, signal()), { message: 'the router refuses (UPnP: 606 Action not authorized)' })
  await router.unmap(wish, signal())
})

t.test('answers that make no sense', async (t) => {
  const sense = { message: /makes no sense \(UPnP/ }
  for (const [what, answer] of [
    ['an empty page', { status: 200, body: '' }], ['HTML', { status: 200, body: '<html><body>Please log in</body></html>' }],
    ['an error without a code', { status: 500, body: 'oops' }], ['an endless one', { status: 200, body: 'x'.repeat(1_000_000) }]
  ] as const) {
    const place = makePlace()
    await startDevice(t, place, (action) => action === 'GetExternalIPAddress' ? own : answer)
    await t.rejects((await findUpnp(place, signal())).map(wish, signal()), sense, what)
  }
  await Promise.all(([['no XML', 'nonsense'], ['nothing', ''], ['other services', describe('urn:schemas-upnp-org:service:ContentDirectory:1', '/ctl')], ['control by somebody else', describe('urn:schemas-upnp-org:service:WANIPConnection:1', 'http://127.0.0.1:1/ctl')], ['no URL', describe('urn:schemas-upnp-org:service:WANIPConnection:1', 'http://')]] as const).map(async ([what, description]) => {
    const place = makePlace()
    const device = await startDevice(t, place, () => own)
    device.description = description
    await t.rejects(findUpnp(place, signal()), { message: 'no answer by UPnP' }, what)
    t.same(device.calls, [])
  }))
  const place = makePlace()
  await startDevice(t, place, (action) => action === 'GetExternalIPAddress' ? '<NewExternalIPAddress>fritz.box</NewExternalIPAddress>' : '')
  t.equal((await (await findUpnp(place, signal())).map(wish, signal())).externalAddress, null, 'an address that is none')
})

t.test('a device that speaks for another host is not believed', async (t) => {
  await Promise.all(['http://127.0.0.1:9/rootDesc.xml', 'https://example.org/', 'file:///etc/passwd', 'no URL'].map(async (location) => {
    const place = makePlace()
    await startDevice(t, place, () => own, location)
    await t.rejects(findUpnp(place, signal()), { message: 'no answer by UPnP' }, location)
  }))
})

t.test('nobody answers, or with garbage -> it is over in time', async (t) => {
  const place = makePlace()
  await startUdp(t, place, 1900, () => [Buffer.alloc(0), 'HTTP/1.1 200 OK\r\n\r\n', Buffer.alloc(1_400, 0xff), 'Location:'])
  const startedAt = performance.now()
  await t.rejects(findUpnp(place, signal()), { message: 'no answer by UPnP' })
  t.ok(performance.now() - startedAt < 4_000)
  await t.rejects(findUpnp(makePlace(), signal(100)), { name: 'TimeoutError' }, 'and when it is told to')
})
