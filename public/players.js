/**
 * Links that other players take. A page cannot ask which of them are installed, so it offers those of the system it runs
 * on; each of them is a documented scheme of its maker.
 *
 * @param url the stream's address, ending in a file name.
 * @returns {{ name: string, href: string }[]}
 */
export function playerLinks (url, { infoHash, userAgent }) {
  const plain = encodeURIComponent(url)
  const { protocol, host, pathname, search } = new URL(url)
  const intent = (name) => `intent://${host}${pathname}${search}#Intent;scheme=${protocol.slice(0, -1)};type=video/*;package=${name};end`
  const vlc = { name: 'VLC', href: `vlc://${url}` }
  const infuse = { name: 'Infuse', href: `infuse://x-callback-url/play?url=${plain}` }
  const stremio = { name: 'Stremio', href: `stremio:magnet:?xt=urn:btih:${infoHash}` }
  if (/Android/.test(userAgent)) {
    return [
      { name: 'VLC', href: intent('org.videolan.vlc') },
      { name: 'MX Player', href: intent('com.mxtech.videoplayer.ad') },
      { name: 'mpv', href: intent('is.xyz.mpv') },
      stremio
    ]
  }
  if (/iPhone|iPad/.test(userAgent)) return [{ name: 'VLC', href: `vlc-x-callback://x-callback-url/stream?url=${plain}` }, infuse]
  if (/Macintosh/.test(userAgent)) return [{ name: 'IINA', href: `iina://weblink?url=${plain}` }, infuse, vlc, stremio]
  return [vlc, { name: 'mpv', href: `mpv://${url}` }, stremio]
}
