import { nothing, sum } from './disk-usage.ts'
import type { Usage } from './disk-usage.ts'

/** A window as the budget knows it. */
export interface HeldWindow {
  readonly infohash: string
  readonly leastBytes: number
  readonly mostBytes: number
  /** What its owner was told last, and so holds at most. */
  grantedBytes: number
}

export interface Measured {
  /** Finished files by index. */
  readonly stored: ReadonlyMap<number, Usage>
  /** Unfinished files by index. */
  readonly parts: ReadonlyMap<number, Usage>
  /** Edges, bitmap and whatever else is in the store's folder. */
  readonly rest: Usage
  readonly metadata: Usage
}

/** What one torrent has of the disk: what was measured, and, while its store is open, what that may grow to. */
export class Holding {
  readonly #overheadBytes: number
  #measured: Measured = { stored: new Map(), parts: new Map(), rest: nothing, metadata: nothing }
  /** Full lengths of the files that the open store has. */
  readonly #claims = new Map<number, number>()
  /** Lengths of the pieces that it may keep in edge files, by number. */
  readonly #edges = new Map<number, number>()
  readonly #windows = new Set<HeldWindow>()
  #fixedBytes: number | null = null

  /** `overheadBytes`: what an open store takes beside its pieces. */
  constructor (overheadBytes: number) {
    this.#overheadBytes = overheadBytes
  }

  get isOpen (): boolean {
    return this.#claims.size > 0 || this.#windows.size > 0
  }

  get isEmpty (): boolean {
    return !this.isOpen && this.fixedBytes === 0 && this.allocatedBytes === 0
  }

  /** It has a folder of unfinished data. */
  get hasFolder (): boolean {
    return this.isOpen || this.#measured.parts.size > 0 || this.#measured.rest.allocatedBytes > 0 || this.#measured.rest.countedBytes > 0
  }

  /** It has unfinished data that somebody may miss, beside these files. */
  isPartial (stored: ReadonlySet<number>): boolean {
    return this.#windows.size > 0 || this.#unfinished.some((fileIndex) => !stored.has(fileIndex)) || (this.hasFolder && stored.size === 0)
  }

  /** The unfinished files that are on the disk. */
  get parts (): number[] {
    return [...this.#measured.parts.keys()]
  }

  get #unfinished (): number[] {
    return [...this.#measured.parts.keys(), ...this.#claims.keys()]
  }

  /** Everything that counts but windows. Cached, for it is asked for with each piece of a window. */
  get fixedBytes (): number {
    this.#fixedBytes ??= this.#count()
    return this.#fixedBytes
  }

  /** What counts beside these files and the metadata, windows included. */
  partialBytes (stored: ReadonlySet<number>): number {
    let bytes = this.fixedBytes - this.#measured.metadata.countedBytes
    for (const index of stored) bytes -= this.fileBytes(index)
    for (const { grantedBytes } of this.#windows) bytes += grantedBytes
    return bytes
  }

  /** What really lies in the folder of unfinished data. */
  get folder (): Usage {
    return sum([...this.#measured.parts.values(), this.#measured.rest])
  }

  get allocatedBytes (): number {
    return sum([...this.#measured.stored.values(), this.folder, this.#measured.metadata]).allocatedBytes
  }

  get metadata (): Usage {
    return this.#measured.metadata
  }

  storedUsage (fileIndex: number): Usage | undefined {
    return this.#measured.stored.get(fileIndex)
  }

  partUsage (fileIndex: number): Usage {
    return this.#measured.parts.get(fileIndex) ?? nothing
  }

  /** What a file counts, finished or not. */
  fileBytes (fileIndex: number): number {
    const { stored, parts } = this.#measured
    return Math.max(this.#claims.get(fileIndex) ?? 0, (stored.get(fileIndex)?.countedBytes ?? 0) + (parts.get(fileIndex)?.countedBytes ?? 0))
  }

  hasClaim (fileIndex: number): boolean {
    return this.#claims.has(fileIndex)
  }

  claim (fileIndex: number, bytes: number, edges: ReadonlyMap<number, number>): { undo (): void } {
    const added = [...edges].filter(([piece]) => !this.#edges.has(piece))
    this.#claims.set(fileIndex, bytes)
    for (const [piece, length] of added) this.#edges.set(piece, length)
    this.#fixedBytes = null
    return {
      undo: () => {
        this.#claims.delete(fileIndex)
        for (const [piece] of added) this.#edges.delete(piece)
        this.#fixedBytes = null
      }
    }
  }

  /** The open store has let the file go. `edgesOf`: the pieces that a file shares with others. */
  unclaim (fileIndex: number, edgesOf: (fileIndex: number) => ReadonlyMap<number, number>): void {
    if (!this.#claims.delete(fileIndex)) return
    const needed = new Set([...this.#claims.keys()].flatMap((other) => [...edgesOf(other).keys()]))
    for (const piece of edgesOf(fileIndex).keys()) if (!needed.has(piece)) this.#edges.delete(piece)
    this.#fixedBytes = null
  }

  addWindow (window: HeldWindow): void {
    this.#windows.add(window)
    this.#fixedBytes = null
  }

  removeWindow (window: HeldWindow): void {
    this.#windows.delete(window)
    this.#fixedBytes = null
  }

  /** Its files count what they take from now on. Windows are let go by their owners. */
  closeStore (): void {
    this.#claims.clear()
    this.#edges.clear()
    this.#fixedBytes = null
  }

  measured (measured: Measured): void {
    this.#measured = measured
    this.#fixedBytes = null
  }

  #count (): number {
    const { stored, parts, rest, metadata } = this.#measured
    let bytes = metadata.countedBytes
    for (const fileIndex of new Set([...stored.keys(), ...parts.keys(), ...this.#claims.keys()])) bytes += this.fileBytes(fileIndex)
    if (!this.isOpen) return bytes + rest.countedBytes
    let open = this.#overheadBytes
    for (const length of this.#edges.values()) open += length
    // With a window the edges on the disk are the window's, and that counts by itself.
    return bytes + (this.#windows.size > 0 ? open : Math.max(open, rest.countedBytes))
  }
}
