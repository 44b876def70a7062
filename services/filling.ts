import type { Config } from './config.ts'

type Settings = Pick<Config, 'CACHE_ONLY_MODE' | 'CACHE_READ_ONLY' | 'ENABLE_HTTP_FALLBACK' | 'ENABLE_P2P'>

/** Why the sources that download are switched off, by their names; what is on is missing. */
export function sourcesOff ({ CACHE_ONLY_MODE, CACHE_READ_ONLY, ENABLE_HTTP_FALLBACK, ENABLE_P2P }: Settings): { readonly p2p?: string, readonly 'http-fallback'?: string } {
  const forAll = CACHE_READ_ONLY
    ? 'CACHE_READ_ONLY=true: nothing is written to the download directory'
    : CACHE_ONLY_MODE ? 'CACHE_ONLY_MODE=true: only cached files are served' : null
  const p2p = forAll ?? (ENABLE_P2P ? null : 'ENABLE_P2P=false')
  const http = forAll ?? (ENABLE_HTTP_FALLBACK ? null : 'ENABLE_HTTP_FALLBACK=false')
  return { ...(p2p === null ? {} : { p2p }), ...(http === null ? {} : { 'http-fallback': http }) }
}
