import { call } from './api.js'
import { text } from './i18n.js'

/**
 * Draws which pieces are here. However many there are, a column of the canvas stands for those that fall on it, so that
 * drawing costs what the width costs.
 *
 * @param map what `GET /api/torrents/:infoHash/pieces` says.
 */
export function draw (canvas, { pieceCount, verified, bitfield, inFlight }) {
  const bits = Uint8Array.from(atob(bitfield), (character) => character.charCodeAt(0))
  const isHere = (piece) => (bits[piece >> 3] & (0x80 >> (piece & 7))) !== 0
  const width = Math.max(1, Math.round(canvas.clientWidth * window.devicePixelRatio))
  const height = Math.round(28 * window.devicePixelRatio)
  canvas.width = width
  canvas.height = height
  const styles = window.getComputedStyle(canvas)
  const context = canvas.getContext('2d')
  // As properties that are colours they come resolved.
  context.fillStyle = styles.color
  for (let x = 0; x < width; x++) {
    const first = Math.floor(x * pieceCount / width)
    const end = Math.max(first + 1, Math.floor((x + 1) * pieceCount / width))
    let filled = 0
    for (let piece = first; piece < end; piece++) if (isHere(piece)) filled++
    if (filled === 0) continue
    context.globalAlpha = 0.25 + 0.75 * filled / (end - first)
    context.fillRect(x, 0, 1, height)
  }
  context.globalAlpha = 1
  context.fillStyle = styles.outlineColor
  for (const piece of inFlight) context.fillRect(Math.floor(piece * width / pieceCount), height * 0.7, Math.max(2, Math.ceil(width / pieceCount)), height * 0.3)
  canvas.setAttribute('aria-label', text('pieces', { here: verified, count: pieceCount, fetching: inFlight.length }))
}

/** Keeps a canvas up to date while `isWanted()`; a torrent without a map has none. */
export async function keepDrawn (canvas, infoHash, isWanted) {
  let drawn = ''
  while (isWanted() && canvas.isConnected) {
    const map = await call(`api/torrents/${infoHash}/pieces`).then(({ data }) => data, () => null)
    canvas.hidden = map === null
    const key = JSON.stringify([map, canvas.clientWidth])
    if (map !== null && key !== drawn) draw(canvas, map)
    drawn = key
    await new Promise((resolve) => { setTimeout(resolve, document.hidden ? 10_000 : 2_000) })
  }
}
