import { open } from 'node:fs/promises'

/** The text of a file of at most so many bytes. Throws for a longer one, and what the file system says. */
export async function readBounded (path: string, mostBytes: number): Promise<string> {
  const handle = await open(path)
  try {
    const { size } = await handle.stat()
    if (size > mostBytes) throw new Error(`it is larger than ${mostBytes} bytes`)
    return await handle.readFile('utf8')
  } finally {
    await handle.close()
  }
}
