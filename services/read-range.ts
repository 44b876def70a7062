import type { ByteRange } from './pieces/geometry.ts'
import type { SourceFile } from './source.ts'

/** A copy of the bytes of an inclusive range, for sources use their buffers again; none where it ends before it starts. Throws what reading throws. */
export async function readRange (file: Pick<SourceFile, 'read'>, { start, end }: ByteRange, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = []
  if (end >= start) for await (const chunk of file.read({ start, end }, signal)) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
