import { basename } from 'node:path'
import { formatBytes } from '../services/format.ts'

const widthCharacters = 24
const redrawMs = 100
/** Some terminals do not say how wide they are. */
const fallbackColumns = 80

/**
 * Says on stderr what is being done: a bar that is drawn over itself on a terminal, else a line for each file. stdout is
 * left to the results.
 */
export class Progress {
  readonly #output: NodeJS.WriteStream
  #label = ''
  #doneBytes = 0
  #totalBytes = 0
  #drawnAt = -Infinity

  constructor (output: NodeJS.WriteStream = process.stderr) {
    this.#output = output
  }

  /** Work on a file begins. */
  begin (work: string, path: string, totalBytes: number): void {
    this.#label = `${work} ${basename(path)}`
    this.#doneBytes = 0
    this.#totalBytes = totalBytes
    if (this.#output.isTTY) this.#draw()
    else this.#output.write(`${this.#label} (${formatBytes(totalBytes)})\n`)
  }

  advance (bytes: number): void {
    this.#doneBytes += bytes
    if (this.#output.isTTY && performance.now() - this.#drawnAt > redrawMs) this.#draw()
  }

  /** Takes the bar away: for whoever writes next. */
  clear (): void {
    if (this.#output.isTTY) this.#output.write('\r\x1b[K')
  }

  #draw (): void {
    this.#drawnAt = performance.now()
    const share = this.#totalBytes === 0 ? 1 : Math.min(1, this.#doneBytes / this.#totalBytes)
    const filled = Math.round(share * widthCharacters)
    const bar = '█'.repeat(filled) + '░'.repeat(widthCharacters - filled)
    const line = `${bar} ${String(Math.floor(share * 100)).padStart(3)} %  ${formatBytes(this.#doneBytes)} of ${formatBytes(this.#totalBytes)}  ${this.#label}`
    this.#output.write(`\r\x1b[K${line.slice(0, (this.#output.columns || fallbackColumns) - 1)}`)
  }
}
