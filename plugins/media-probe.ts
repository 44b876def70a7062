import fp from 'fastify-plugin'
import { Probe } from '../services/media/probe.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Tells what media files consist of; null where there is no ffprobe. */
    mediaProbe: Probe | null
  }
}

export default fp(async function mediaProbe (fastify) {
  const probe = await Probe.open()
  fastify.decorate('mediaProbe', probe)
  fastify.addHook('onClose', async () => { await probe?.close() })
}, { name: 'media-probe' })
