export interface WindowNeed {
  readonly leastBytes: number
  readonly mostBytes: number
}

/**
 * Shares `roomBytes` among windows: as equal as their needs allow, none below its least (even when there is not enough
 * for all) nor above its most. In whole bytes, in the order of the needs.
 */
export function fairShares (roomBytes: number, needs: readonly WindowNeed[]): number[] {
  const sharesAt = (level: number): number[] => needs.map(({ leastBytes, mostBytes }) => Math.max(leastBytes, Math.min(level, mostBytes)))
  const total = (shares: readonly number[]): number => shares.reduce((sum, share) => sum + share, 0)
  // The highest level whose shares fit: they grow with it.
  let [fitting, tooHigh] = [0, Math.max(0, ...needs.map(({ mostBytes }) => mostBytes)) + 1]
  while (tooHigh - fitting > 1) {
    const level = Math.floor((fitting + tooHigh) / 2)
    if (total(sharesAt(level)) <= roomBytes) fitting = level
    else tooHigh = level
  }
  return sharesAt(fitting)
}
