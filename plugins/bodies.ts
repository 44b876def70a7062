import fp from 'fastify-plugin'

/** What a request may bring: JSON, and whatever a route takes besides. Any other type is refused with 415. */
export default fp(async function bodies (fastify) {
  const parseJson = fastify.getDefaultJsonParser('error', 'error')
  fastify.removeContentTypeParser(['application/json', 'text/plain'])
  // DELETE and others come with this type and no body, too: that is nothing, not a mistake.
  fastify.addContentTypeParser('application/json', { parseAs: 'string' }, (request, text, done) => {
    if (text === '') done(null, undefined)
    else void parseJson(request, text.toString(), done)
  })
}, { name: 'bodies' })
