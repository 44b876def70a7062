import { randomBytes } from 'node:crypto'

import type { ByteRange } from '../pieces/geometry.ts'
import type { ResponseBody } from './body.ts'

/** A delimiter that no file contains (RFC 2046 section 5.1.1: at most 70 characters). */
export function randomBoundary (): string {
  return randomBytes(16).toString('hex')
}

/**
 * A `multipart/byteranges` body (RFC 9110 section 14.6) of these ranges of a representation that is `lengthBytes` long.
 */
export function multipartBody (
  { ranges, boundary, contentType, lengthBytes }:
  { readonly ranges: readonly ByteRange[], readonly boundary: string, readonly contentType: string, readonly lengthBytes: number }
): ResponseBody {
  const parts = ranges.map(range => ({
    head: Buffer.from(
      `\r\n--${boundary}\r\nContent-Type: ${contentType}\r\nContent-Range: ${contentRange(range, lengthBytes)}\r\n\r\n`,
      'latin1'
    ),
    range
  }))
  const tail = Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1')
  const partsBytes = parts.reduce((sum, { head, range }) => sum + head.length + range.end - range.start + 1, 0)
  return { parts, tail, lengthBytes: partsBytes + tail.length }
}

/** `bytes a-b/len` (RFC 9110 section 14.4). */
export function contentRange ({ start, end }: ByteRange, lengthBytes: number): string {
  return `bytes ${start}-${end}/${lengthBytes}`
}
