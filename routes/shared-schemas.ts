import { cacheEntrySchema } from './cache.ts'
import { eventsSchema } from './event-schemas.ts'
import { errorSchema } from './schemas.ts'
import { streamStatusSchema } from './stream-schemas.ts'
import { statisticsSchema } from './stremio-server-schemas.ts'
import { fileSchema, torrentSchema, torrentWithFilesSchema } from './torrent-schemas.ts'

/** Those that others refer to by name; each is a component of the OpenAPI document. */
export const sharedSchemas = [errorSchema, torrentSchema, fileSchema, torrentWithFilesSchema, cacheEntrySchema, streamStatusSchema, eventsSchema, statisticsSchema]
