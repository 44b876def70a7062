import fp from 'fastify-plugin'
import { EventBus } from '../services/events.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** What happens, for whoever wants to hear of it. */
    events: EventBus
  }
}

export default fp(async function events (fastify) {
  fastify.decorate('events', new EventBus(fastify.log))
}, { name: 'events' })
