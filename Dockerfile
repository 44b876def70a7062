# The full image has the compilers: utp-native ships no binary for arm64 and is built there.
FROM node:24-bookworm AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY packages ./packages
RUN npm ci --omit=dev && npm cache clean --force

FROM node:24-bookworm-slim
# Anything: with ffmpeg, for films that browsers cannot play (docs/stremio-server.md).
ARG FFMPEG=""
RUN if [ -n "$FFMPEG" ]; then apt-get update && apt-get install --yes --no-install-recommends ffmpeg && rm -rf /var/lib/apt/lists/*; fi
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
# All that .dockerignore lets through.
COPY . .
RUN install --directory --owner=node --group=node cache
USER node
VOLUME /app/cache
EXPOSE 11470 6881/tcp 6881/udp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --start-interval=1s CMD ["node", "scripts/health.ts"]
CMD ["node", "index.js"]
