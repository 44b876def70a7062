import { abortable } from '../deadline.ts'
import type { HostReply, HostRequest } from './messages.ts'
import type { Survey } from './survey.ts'

/** What to ask for. */
export interface Surveyed {
  readonly infohash: string
  /** Beside those of the operator. */
  readonly trackers: readonly string[]
  /** Then nobody is asked but these trackers (BEP 27). */
  readonly isPrivate: boolean
}

/** The surveys that the swarm's process was asked for, seen from the server. */
export class Surveys {
  readonly #pending = new Map<number, (survey: Survey | null) => void>()
  #count = 0

  /** Resolves with the answer, null when the process died; rejects with the signal's reason. */
  async ask (about: Surveyed, send: (request: HostRequest) => void, signal: AbortSignal): Promise<Survey | null> {
    const number = ++this.#count
    const { promise, resolve } = Promise.withResolvers<Survey | null>()
    this.#pending.set(number, resolve)
    try {
      send({ type: 'survey', number, infohash: about.infohash, trackers: [...about.trackers], isPrivate: about.isPrivate })
      return await abortable(promise, signal)
    } finally {
      this.#pending.delete(number)
    }
  }

  take ({ number, survey }: Extract<HostReply, { readonly type: 'surveyed' }>): void {
    this.#pending.get(number)?.(survey)
  }

  /** The process is gone: nobody will answer. */
  lose (): void {
    for (const resolve of this.#pending.values()) resolve(null)
  }
}
