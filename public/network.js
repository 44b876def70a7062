import { call } from './api.js'
import { isolate } from './format.js'
import { onLanguage, text, word } from './i18n.js'

const byId = (id) => document.getElementById(id)
let timer = null

/** To be called when the report of the network has changed; looks soon, and only while somebody does. */
export function refresh () {
  if (!byId('network').open || timer !== null) return
  timer = setTimeout(() => {
    timer = null
    look().catch((error) => { byId('verdict').textContent = error.message })
  }, 500)
}

async function look () {
  const { data: report } = await call('api/network')
  const { verdict, publicEndpoint, mapping, ports, inbound, holePunches, dhtNodes, bans, advice } = report
  byId('verdict').textContent = [word('verdict', verdict.kind), word('confidence', verdict.confidence)].filter(Boolean).join(' ')
  byId('advice').textContent = advice || verdict.reason
  const facts = [
    ['publicAddress', publicEndpoint === null ? null : endpoint(publicEndpoint)],
    ['routerMapping', mapping === null ? null : [text(`mapping.${mapping.state}`), mapping.protocol, mapping.externalUdpPort ?? mapping.externalTcpPort].filter(Boolean).join(' · ')],
    ['listening', listening(ports)],
    ['inbound', isolate(`TCP ${inbound.tcp.count}, uTP ${inbound.utp.count}`)],
    ['punched', text('triedWon', { won: holePunches.initiator.won + holePunches.target.won, tried: holePunches.initiator.tried + holePunches.target.tried })],
    ['dhtNodes', String(dhtNodes)],
    ['bans', String(bans)]
  ]
  byId('network-facts').replaceChildren(...facts.filter(([, value]) => value !== null).flatMap(([key, value]) => {
    const term = document.createElement('dt')
    term.textContent = text(key)
    const description = document.createElement('dd')
    description.textContent = value
    return [term, description]
  }))
}

function endpoint ({ address, port }) {
  return isolate(port === null ? address : address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)
}

function listening ({ tcp, utp, dht }) {
  const parts = [tcp !== null && `TCP ${tcp}`, utp !== null && `uTP ${utp}`, dht !== null && `DHT ${dht}`].filter(Boolean)
  return parts.length === 0 ? null : isolate(parts.join(', '))
}

byId('network').addEventListener('toggle', refresh)
onLanguage(refresh)
