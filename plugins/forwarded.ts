import fp from 'fastify-plugin'

declare module 'fastify' {
  interface FastifyInstance {
    /** What proxies before this server say, and nobody told it to believe. */
    forwarded: { readonly isIgnored: boolean }
  }
}

const names = ['forwarded', 'x-forwarded-proto', 'x-forwarded-host']

/** Notices a proxy that the settings do not know of: the addresses that are handed out then are those of the wrong side of it. */
export default fp(async function forwarded (fastify) {
  const { config, log } = fastify
  const seen = { isIgnored: false }
  fastify.decorate('forwarded', seen)
  if (config.BASE_URL !== null || config.TRUST_PROXY !== false) return

  fastify.addHook('onRequest', async ({ headers }) => {
    if (seen.isIgnored || !names.some((name) => headers[name] !== undefined)) return
    seen.isIgnored = true
    log.warn({}, 'a proxy stands before this server (Forwarded, X-Forwarded-*), and neither BASE_URL nor TRUST_PROXY is set: links in answers may have the wrong address')
  })
}, { name: 'forwarded', dependencies: ['config'] })
