import type { Wire } from 'webtorrent'

/**
 * Asks a new peer for what is most urgent. By itself WebTorrent tries an unknown peer with one block from the end of
 * the least urgent range, and asks for the rest only after the answer.
 */
export function trustFromStart (wire: Wire): void {
  wire.downloaded ||= 1
}

const blockBytes = 16_384
/** Requests that a new peer gets at once, beside the two that WebTorrent always makes. */
const firstBlocks = 6

/**
 * Lets the number of requests under way grow as fast as the peer answers them. WebTorrent asks for what the peer gave
 * in a second, as an average of five: from two requests on that takes half a minute with a peer that answers in pulses
 * (Transmission), or from far away. Here a peer that has just begun to deliver counts as a little faster than it is
 * yet, and one that gets faster as twice as fast as in the last second, so that a slow one is soon seen as such.
 *
 * @param now milliseconds.
 */
export function growPipeline (wire: Wire, now: () => number = performance.now.bind(performance)): void {
  const average = wire.downloadSpeed
  /** Bytes in each tenth of the last second; the tenth that began at `tick * 100` ms is at `tick % 10`. */
  const tenths: number[] = Array(10).fill(0)
  let tick = 0
  let unchokedAtMs: number | null = null
  let firstAtMs: number | null = null
  wire.on('unchoke', () => { unchokedAtMs ??= now() })
  wire.downloadSpeed = (bytes = 0) => {
    const nowMs = now()
    const nowTick = Math.floor(nowMs / 100)
    for (let gone = Math.max(tick + 1, nowTick - 9); gone <= nowTick; gone++) tenths[gone % 10] = 0
    tick = nowTick
    tenths[tick % 10] = (tenths[tick % 10] ?? 0) + bytes
    if (bytes > 0) firstAtMs ??= nowMs
    const measured = average(bytes)
    const lastSecond = tenths.reduce((sum, tenth) => sum + tenth, 0)
    // Of the first second there is no average yet that it could exceed.
    const isGrowing = (firstAtMs !== null && nowMs - firstAtMs < 2_000) || lastSecond > measured * 1.2
    const atFirst = unchokedAtMs !== null && nowMs - unchokedAtMs < 1_000 ? firstBlocks * blockBytes : 0
    return Math.max(measured, atFirst, isGrowing ? lastSecond * 2 : lastSecond)
  }
}

/** Ignores what peers offer to a choked client (BEP 6): WebTorrent would fetch those pieces whether selected or not. */
export function ignoreAllowedFast (wire: Wire): void {
  wire.on('allowed-fast', () => { wire.peerAllowedFastSet.length = 0 })
}
