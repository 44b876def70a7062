import type { Readable } from 'node:stream'

/** What panels type to stop a server: the word, or Ctrl-C as two characters or as one. */
const stopWords: ReadonlySet<string> = new Set(['stop', '^c', '\x03'])
const LONGEST_LINE = 64

/**
 * Calls `onStop` for each line of the input that asks for a stop. The end of the input and whatever goes wrong with it
 * mean nothing: there may be nobody who types. Returns the function that ends the listening.
 */
export function listenForStop (input: Readable, onStop: (word: string) => void): () => void {
  let line = ''
  const onData = (chunk: Buffer | string): void => {
    const lines = (line + chunk.toString()).split(/\r\n|\r|\n/)
    // A line that is longer than any word keeps what makes it too long, and no more.
    line = (lines.pop() ?? '').slice(0, LONGEST_LINE)
    // A terminal in raw mode sends Ctrl-C without an end of line.
    if (line === '\x03') lines.push(line)
    for (const each of lines) {
      const word = each.trim().toLowerCase()
      if (stopWords.has(word)) onStop(word === 'stop' ? 'stop' : '^C')
    }
  }
  const onError = (): void => {}
  input.on('data', onData)
  input.on('error', onError)
  return () => {
    input.off('data', onData)
    input.pause()
  }
}
