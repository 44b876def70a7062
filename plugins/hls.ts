import { availableParallelism } from 'node:os'
import fp from 'fastify-plugin'
import { deadlines } from '../services/deadlines.ts'
import { Ffmpeg } from '../services/hls/ffmpeg.ts'
import { Hls } from '../services/hls/hls.ts'
import { memoryBudget, memoryLimits } from '../services/memory-budget.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Files as HLS; null where there is no ffmpeg, or no ffprobe. */
    hls: Hls | null
  }
}

/** A film on one core is enough for one who watches; two of them, so that a seek does not wait for what it leaves behind. */
const LEAST_PROCESSES = 2

export default fp(async function hls (fastify) {
  const { config, log, mediaProbe } = fastify
  const ffmpeg = await Ffmpeg.open({
    processes: Math.max(LEAST_PROCESSES, availableParallelism()),
    maxOutputBytes: memoryBudget(memoryLimits()).readerBytes,
    // What it reads may have to wait for its sources.
    silenceLimitMs: config.RESPONSE_STALL_LIMIT + deadlines.mediaMs
  })
  const hls = ffmpeg === null || mediaProbe === null ? null : new Hls({ ffmpeg, probe: mediaProbe, log })
  if (hls === null) log.info({}, `[Hybrid] HLS for browsers is off: ${[...ffmpeg === null ? ['ffmpeg'] : [], ...mediaProbe === null ? ['ffprobe'] : []].join(' and ')} not found on PATH`)
  fastify.decorate('hls', hls)
  // Before the server closes, or it would wait for what is being made.
  fastify.addHook('preClose', async () => { await hls?.close() })
}, { name: 'hls', dependencies: ['config', 'media-probe', 'source-chain'] })
