/**
 * What the stores may take of the disk. One Room answers for the whole process, so that what all of them hold together
 * stays within the budget at every moment, not only when somebody cleans up.
 */
export interface Room {
  /**
   * Counts a whole file's full length as used, from now until `release`; evicts what may go. false: it does not fit
   * even then. Asked again for the same file it stays counted once. While the store is open the length counts in full
   * under either accounting: a sparse file may grow to it without asking.
   */
  takeFile (infohash: string, fileIndex: number, lengthBytes: number): Promise<boolean>
  /**
   * Room for a window of this store: at least `leastBytes`, at most `mostBytes`; all windows of the process share what
   * the budget leaves. Throws NO_ROOM when not even `leastBytes` can be had.
   */
  openWindow (infohash: string, leastBytes: number, mostBytes: number): Promise<WindowClaim>
  /**
   * A write failed for lack of space (ENOSPC, EDQUOT) although the budget had room: lets something go that takes at
   * least `bytes` of the disk, or all that may go. true: something went, try again.
   */
  makeRoom (bytes: number): Promise<boolean>
  /** The store was closed: its files count as what is really on disk, by the accounting, from now on. */
  release (infohash: string): void
}

export interface WindowClaim {
  /** Shrinks and grows when others come and go: ask at each move, and give back what is more. */
  readonly bytes: number
  /** Releasing twice does nothing more. What the window held must be off the disk before. */
  release (): void
}

/** What a whole torrent may take: its store, and its metadata. */
export interface TorrentRoom extends Room {
  /**
   * Has a torrent's metadata written, of so many bytes, once there is room for it. false: there is none, and nothing was
   * written. Throws what `write` throws.
   */
  keepMetadata (infohash: string, lengthBytes: number, write: () => Promise<void>): Promise<boolean>
}

/** Room without end, for tests and tools that have no budget. */
export const unlimitedRoom: TorrentRoom = {
  takeFile: async () => true,
  openWindow: async (_infohash, _leastBytes, mostBytes) => ({ bytes: mostBytes, release () { /* nothing was counted */ } }),
  keepMetadata: async (_infohash, _lengthBytes, write) => {
    await write()
    return true
  },
  makeRoom: async () => false,
  release () { /* nothing was counted */ }
}
