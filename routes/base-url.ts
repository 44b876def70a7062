import { linksFrom } from '../services/links.ts'
import type { FastifyRequest } from 'fastify'
import type { Links } from '../services/links.ts'

/** The address that this client reaches the server at: BASE_URL, else what the request says, of proxies as far as TRUST_PROXY believes them. */
export function baseUrlOf (request: FastifyRequest): string {
  const { BASE_URL } = request.server.config
  if (BASE_URL !== null) return BASE_URL
  const origin = URL.parse(`${request.protocol}://${request.host}`)?.origin
  return origin ?? `http://127.0.0.1:${request.socket.localPort ?? 80}`
}

/** Absolute links for this client, with what lets those in who follow them. */
export function linksOf (request: FastifyRequest): Links {
  return linksFrom(baseUrlOf(request), request.server.access.grantOf(request))
}

/** The same without the server's address, where BASE_URL does not tell it: the client knows by which one it came. */
export function relativeLinksOf (request: FastifyRequest): Links {
  return linksFrom(request.server.config.BASE_URL, request.server.access.grantOf(request))
}
