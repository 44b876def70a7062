import { Type } from 'typebox'
import { listOf, nullable, oneOf, ownInfoHash } from './schemas.ts'
import { torrentFields } from './torrent-schemas.ts'
import type { TSchema } from 'typebox'
import type { ServerEvent } from '../services/events.ts'

const at = Type.String({ description: 'ISO 8601' })
const infoHash = ownInfoHash
const response = Type.Integer({ description: 'which response, in this life of the server' })
const source = Type.String()
const position = Type.Integer({ description: 'the byte at which it begins or ends' })
const fileIndex = nullable(Type.Integer())
const timings = listOf(Type.Object({ source: Type.String(), durationMs: Type.Number() }))
const refusals = listOf(Type.Object({ source: Type.String(), code: Type.String(), message: Type.String(), isTemporary: Type.Boolean(), retryInMs: Type.Optional(Type.Number()) }))
const place = Type.Object({ lastEventId: Type.String() })

function event (description: string, fields: Record<string, TSchema>) {
  return Type.Object({ ...fields, at }, { description, additionalProperties: false })
}

const events = {
  ready: { ...place, description: 'it begins here' },
  reset: { ...place, description: 'what was missed is gone: ask for the lists anew' },
  added: event('somebody added it, or added it again', { infoHash }),
  removed: event('it is gone from the list', { infoHash }),
  progress: event('it is not as it was: an entry of the list', torrentFields),
  start: event('sources are asked', { infoHash, fileIndex }),
  started: event('a source answered', { infoHash, source, timings, ms: Type.Number({ description: 'since it was asked for' }) }),
  refused: event('none can serve it', { infoHash, refusals }),
  source: event('a source serves a response from here on', { infoHash, response, source, position }),
  lost: event('it does not go on', { infoHash, response, source, position, code: Type.String(), message: Type.String() }),
  stall: event('a client waited; source null: while another one was looked for', { infoHash, response, source: nullable(source), ms: Type.Number() }),
  end: event('a response is over', { infoHash, response, outcome: oneOf(['complete', 'client left', 'cut']), deliveredBytes: Type.Integer() }),
  cache: event('something in the cache changed', { infoHash, fileIndex, change: oneOf(['stored', 'removed', 'pinned', 'unpinned', 'verified', 'mismatch']) }),
  network: Type.Object({ at }, { description: 'as the data of GET /api/network', additionalProperties: true })
} satisfies Record<ServerEvent['type'] | 'ready' | 'reset' | 'network', TSchema | object>

/** What the data of each event is, by its name. */
export const eventsSchema = Type.Unsafe<object>({ type: 'object', description: 'the data of the Server-Sent Events, by the name of the event', properties: events, $id: 'Events' })
