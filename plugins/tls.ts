import fp from 'fastify-plugin'
import { TlsPort } from '../services/http/tls-port.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Where HTTPS is served; null: nowhere, or not yet. */
    https: { readonly port: number | null }
  }
}

export default fp(async function tls (fastify) {
  const { config, log, server, sharedPort } = fastify
  const { TLS_CERT_FILE: certFile, TLS_KEY_FILE: keyFile, HTTPS_PORT, PORT, HOST } = config
  const https: { port: number | null } = { port: null }
  fastify.decorate('https', https)
  if (certFile === null || keyFile === null) return

  const port = await TlsPort.open({ certFile, keyFile, server, log })
  fastify.addHook('preClose', async () => { port.stop() })
  fastify.addHook('onClose', async () => { port.close() })
  if (HTTPS_PORT === PORT && PORT !== 0) {
    sharedPort.take('tls', (socket, bytes) => { port.take(socket, bytes) })
    https.port = PORT
    return
  }
  fastify.addHook('onReady', async () => {
    https.port = await port.listen(HTTPS_PORT, HOST).catch((error: unknown) => {
      const isTaken = error instanceof Error && 'code' in error && error.code === 'EADDRINUSE'
      throw new Error(isTaken ? `HTTPS_PORT ${HTTPS_PORT} is taken by another program (Stremio's own streaming server uses 12470)` : `HTTPS_PORT ${HTTPS_PORT}: ${String(error)}`, { cause: error })
    })
    log.info({ port: https.port }, 'HTTPS is served, too')
  })
}, { name: 'tls', dependencies: ['config', 'shared-port'] })
