import { CodedError } from '../services/errors.ts'
import { hopsOf, isLoop, viaOf } from '../services/download/via.ts'
import type { FastifyRequest } from 'fastify'

/**
 * What a request has that this server makes because a client asked it to (RFC 9110 section 7.6.3): whoever gets it knows
 * that somebody stands behind it. Without that, another server here, or this one by another address, would take it for one
 * of its own network. Throws HTTP_LOOP for a request that came from here.
 */
export function relayHeaders ({ headers, server }: FastifyRequest): { readonly via: string } {
  const hops = hopsOf(headers.via)
  if (isLoop(hops, server.addonHop)) throw new CodedError('HTTP_LOOP', 'this leads back to where it came from')
  return { via: viaOf(hops, server.addonHop) }
}
