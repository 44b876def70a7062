import { readField } from './conditional.ts'
import type { RequestHeaders } from './conditional.ts'

/** For every answer of a media route, errors included: any page may play it and read what it says about itself. */
export const corsHeaders = {
  'Access-Control-Allow-Origin': '*',
  'Access-Control-Expose-Headers': 'Content-Length, Content-Range, Accept-Ranges, ETag, Content-Type, X-Stream-Source, X-Stream-Verified, Server-Timing',
  'Timing-Allow-Origin': '*'
} as const

/**
 * The answer to a preflight of a media route (Fetch standard, section 3.2). Only there, and only when the browser asks,
 * a public page may reach a private address: these routes change nothing, on others it would be a CSRF door.
 */
export function preflightHeaders (headers: RequestHeaders): Record<string, string> {
  const asksForPrivateNetwork = readField(headers, 'access-control-request-private-network') === 'true'
  return {
    ...corsHeaders,
    'Access-Control-Allow-Methods': 'GET, HEAD, OPTIONS',
    'Access-Control-Allow-Headers': 'Range, If-Range, If-None-Match, If-Match, Content-Type, Authorization',
    'Access-Control-Max-Age': '86400',
    ...asksForPrivateNetwork ? { 'Access-Control-Allow-Private-Network': 'true' } : {}
  }
}
