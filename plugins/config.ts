import fp from 'fastify-plugin'
import type { Config } from '../services/config.ts'

declare module 'fastify' {
  interface FastifyInstance {
    readonly config: Config
  }
}

export interface ConfigOptions {
  /** Read and checked by `readConfig`, once, before there is an app. */
  readonly config: Config
}

export default fp<ConfigOptions>(async function config (fastify, options) {
  fastify.decorate('config', options.config)
}, { name: 'config' })
