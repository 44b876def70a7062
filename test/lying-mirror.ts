import { createServer } from 'node:http'
import { listenOnLoopback } from './loopback.ts'
import type { ServerResponse } from 'node:http'
import type { Test } from 'tap'
import type { TestTorrent } from './testnet.ts'

/** What a mirror was asked for, and what it would have to answer. Both ends inclusive. */
export interface Question {
  readonly start: number
  readonly end: number
  readonly film: Buffer
  readonly pieceLength: number
  /** How many requests came before this one. */
  readonly count: number
}

export interface Lie {
  readonly answer: (response: ServerResponse, question: Question) => void
  /** What becomes of a stream that has no other mirror. `stops`: at a piece that nobody can bring, and the rest plays. */
  readonly alone: 'plays' | 'fails' | 'stops'
}

/** The piece that 'wrong bytes in 1 of 50 pieces' is wrong in. */
export const wrongPiece = 29

function partial (response: ServerResponse, { start, end, film }: Question, headers: Record<string, string> = {}): ServerResponse {
  return response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${film.length}`, 'content-length': end - start + 1, ...headers })
}

/** The ways in which a mirror can lie or break, by what it does. */
export const lies: Readonly<Record<string, Lie>> = {
  '200 for Range': { alone: 'plays', answer: (response, { film }) => { response.writeHead(200, { 'content-length': film.length }).end(film) } },
  '200 for Range, chunked': {
    alone: 'plays',
    answer: (response, { film }) => {
      response.writeHead(200).write(film.subarray(0, 1000))
      response.end(film.subarray(1000))
    }
  },
  'wrong start': { alone: 'fails', answer: (response, question) => { partial(response, { ...question, start: question.start + 1 }).end(question.film.subarray(question.start + 1, question.end + 1)) } },
  'bytes from a wrong start': { alone: 'fails', answer: (response, question) => { partial(response, question).end(shifted(question)) } },
  'wrong total': {
    alone: 'fails',
    answer: (response, { start, end, film }) => {
      response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${film.length + 1}`, 'content-length': end - start + 1 }).end(film.subarray(start, end + 1))
    }
  },
  'too long': {
    alone: 'plays',
    answer: (response, { start, end, film }) => {
      response.writeHead(206, { 'content-range': `bytes ${start}-${end}/${film.length}` }).end(Buffer.concat([film.subarray(start, end + 1), Buffer.alloc(500_000, 'x')]))
    }
  },
  'too short': { alone: 'fails', answer: (response, question) => { partial(response, question, { 'content-length': '1000' }).end(question.film.subarray(question.start, question.start + 1000)) } },
  'shorter than its Content-Length': { alone: 'fails', answer: (response, question) => { partial(response, question).write(question.film.subarray(question.start, question.start + 1000), () => { response.destroy() }) } },
  'hangs at once': { alone: 'fails', answer: () => {} },
  'hangs in the middle of each piece': { alone: 'fails', answer: (response, question) => { upTo(response, question, question.start - question.start % question.pieceLength + question.pieceLength / 2) } },
  'hangs in the middle of the file': { alone: 'stops', answer: (response, question) => { upTo(response, question, wrongPiece * question.pieceLength + 1) } },
  'a reset': { alone: 'fails', answer: (response) => { response.socket?.resetAndDestroy() } },
  'a reset in the middle': { alone: 'fails', answer: (response, question) => { partial(response, question).write(question.film.subarray(question.start, question.start + 1000), () => { response.socket?.resetAndDestroy() }) } },
  'a drip of 1 byte/s': {
    alone: 'fails',
    answer: (response, question) => {
      partial(response, question).flushHeaders()
      let position = question.start
      const timer = setInterval(() => { response.write(question.film.subarray(position, ++position)) }, 1000)
      response.on('close', () => { clearInterval(timer) })
    }
  },
  'wrong bytes': { alone: 'fails', answer: (response, question) => { partial(response, question).end(Buffer.alloc(question.end - question.start + 1, 'x')) } },
  'wrong bytes in 1 of 50 pieces': {
    alone: 'stops',
    answer: (response, question) => {
      const bytes = Buffer.from(question.film)
      bytes.fill('x', wrongPiece * question.pieceLength, wrongPiece * question.pieceLength + 10)
      partial(response, question).end(bytes.subarray(question.start, question.end + 1))
    }
  },
  HTML: { alone: 'fails', answer: (response) => { response.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>Solve this captcha</title>') } },
  gzip: { alone: 'fails', answer: (response, question) => { partial(response, question, { 'content-encoding': 'gzip' }).end(question.film.subarray(question.start, question.end + 1)) } },
  'a redirect to loopback': { alone: 'fails', answer: (response) => { response.writeHead(302, { location: 'http://127.0.0.1:1/secret' }).end() } },
  'a redirect loop': { alone: 'fails', answer: (response) => { response.writeHead(302, { location: '?again' }).end() } },
  'a changing ETag': { alone: 'plays', answer: (response, question) => { partial(response, question, { etag: `"${question.count}"` }).end(question.film.subarray(question.start, question.end + 1)) } },
  'a file that changes under us': {
    alone: 'stops',
    answer: (response, question) => {
      const { start, end, film, pieceLength } = question
      // From the tenth piece on it is another file of the same length.
      if (start >= 10 * pieceLength) partial(response, question, { etag: '"new"' }).end(Buffer.alloc(end - start + 1, 'x'))
      else partial(response, question, { etag: '"old"' }).write(film.subarray(start, 10 * pieceLength), () => { response.destroy() })
    }
  },
  'always busy': { alone: 'fails', answer: (response) => { response.writeHead(503, { 'retry-after': '3600' }).end() } }
}

/** Answers as it should up to this byte, and then says nothing more. */
function upTo (response: ServerResponse, question: Question, position: number): void {
  const { start, end, film } = question
  partial(response, question)
  if (end < position) response.end(film.subarray(start, end + 1))
  else if (start < position) response.write(film.subarray(start, position))
  else response.flushHeaders()
}

function shifted ({ start, end, film }: Question): Buffer {
  return Buffer.concat([film, film]).subarray(start + 1, end + 2)
}

/** A server with this lie for the torrent's first file. Resolves to its HTTP_MIRROR_URLS template. */
export async function startLyingMirror (t: Test, { files: [file], metadata }: TestTorrent, { answer }: Lie): Promise<{ readonly mirrorUrl: string, requests (): number }> {
  let count = 0
  const server = createServer((request, response) => {
    const film = file?.bytes ?? Buffer.alloc(0)
    const [, start = '0', end = String(film.length - 1)] = /^bytes=(\d+)-(\d+)$/.exec(request.headers.range ?? '') ?? []
    answer(response, { start: Number(start), end: Number(end), film, pieceLength: metadata.pieceLength, count: count++ })
  })
  const origin = await listenOnLoopback(t, server)
  return { mirrorUrl: `${origin}/{hash}/{index}`, requests: () => count }
}
