import { createServer } from 'node:http'
import { listenOnLoopback } from './loopback.ts'
import type { Test } from 'tap'

export interface TestUpstream {
  /** Of its manifest; with somebody's key in it. */
  readonly url: string
  /** What was asked for, behind the key. */
  readonly requests: readonly string[]
}

/** A manifest of an addon with streams and subtitles of everything whose id begins with `tt`. */
export const plainManifest = { id: 'org.example.other', version: '1.0.0', name: 'Other', description: 'for tests', types: ['movie', 'series'], resources: ['stream', 'subtitles'], catalogs: [], idPrefixes: ['tt'] }

/** Another Stremio addon, on loopback. */
export async function startUpstream (t: Test, { manifest = plainManifest, streams = [], subtitles = [] }: { readonly manifest?: unknown, readonly streams?: unknown, readonly subtitles?: unknown } = {}): Promise<TestUpstream> {
  const requests: string[] = []
  const origin = await listenOnLoopback(t, createServer((request, response) => {
    const path = (request.url ?? '').replace('/somebodys-key/', '')
    requests.push(path)
    response.end(JSON.stringify(path === 'manifest.json' ? manifest : path.startsWith('stream/') ? { streams } : { subtitles }))
  }))
  return { url: `${origin}/somebodys-key/manifest.json`, requests }
}
