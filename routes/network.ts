import { Type } from 'typebox'
import { sourcesOff } from '../services/filling.ts'
import { emptyReport } from '../services/nat/network-report.ts'
import { answer, errors } from './schemas.ts'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import type { Static, TSchema } from 'typebox'

const orNull = <T extends TSchema>(schema: T) => Type.Union([schema, Type.Null()])
const list = <T extends TSchema>(schema: T) => Type.Immutable(Type.Array(schema))
const port = orNull(Type.Integer())
const behaviour = orNull(Type.Enum(['endpoint-independent', 'address-dependent', 'address-and-port-dependent']))
const seen = Type.Object({ count: Type.Integer(), lastAt: orNull(Type.String()) })
const attempts = Type.Object({ tried: Type.Integer(), won: Type.Integer() })

const data = Type.Object({
  state: Type.Enum(['off', 'starting', 'ready', 'unavailable', 'closed']),
  reason: Type.String(),
  verdict: Type.Object({
    kind: Type.Enum(['no NAT', 'full cone', 'address restricted', 'port restricted', 'symmetric', 'UDP blocked', 'unknown']),
    confidence: Type.Enum(['none', 'low', 'medium', 'high']),
    mapping: behaviour,
    filtering: behaviour,
    sources: list(Type.Enum(['rfc5780', 'stun', 'dht', 'peers', 'utp'])),
    isPending: Type.Boolean(),
    reason: Type.String()
  }),
  publicEndpoint: orNull(Type.Object({ address: Type.String(), port, source: Type.Enum(['stun', 'dht', 'peers', 'router', 'interface']) })),
  localAddresses: list(Type.String()),
  mapping: orNull(Type.Object({
    state: Type.Enum(['asking', 'mapped', 'failed', 'off']),
    protocol: orNull(Type.Enum(['UPnP', 'NAT-PMP', 'PCP'])),
    externalAddress: orNull(Type.String()),
    externalTcpPort: port,
    externalUdpPort: port,
    expiresAt: orNull(Type.String()),
    reason: Type.String()
  })),
  ports: Type.Object({
    tcp: port,
    utp: port,
    dht: port,
    isOnePort: Type.Boolean(),
    wanted: Type.Integer(),
    missing: list(Type.Object({ what: Type.Enum(['port', 'tcp', 'utp', 'dht', 'webrtc', 'one port']), reason: Type.String() }))
  }),
  hasUtp: Type.Boolean(),
  hasWebRtc: Type.Boolean(),
  inbound: Type.Object({ tcp: seen, utp: seen }),
  holePunches: Type.Object({ initiator: attempts, target: attempts, relayed: Type.Integer() }),
  bans: Type.Integer(),
  dhtNodes: Type.Integer(),
  advice: Type.String()
})

const schema = {
  tags: ['server'],
  summary: 'How the server is seen from the internet, and what P2P can do from here',
  response: { 200: answer(data, 'as it is known now'), ...errors({}) }
}

/** How the server is seen from the internet, and what P2P can do from here. */
const network: FastifyPluginAsyncTypebox = async (fastify) => {
  const { config, swarm } = fastify
  const off = sourcesOff(config).p2p ?? ''

  fastify.get('/api/network', { schema, config: { access: 'list' } }, async (_request, reply) => {
    reply.header('Cache-Control', 'no-store')
    return { success: true, data: report() }
  })

  function report (): Static<typeof data> {
    const { state, reason } = swarm?.status ?? { state: 'off' as const, reason: off }
    const { network } = swarm ?? { network: emptyReport(off, `P2P is off (${off}): streams come from the cache and over HTTP.`) }
    return { state, reason, ...network }
  }
}

export default network
