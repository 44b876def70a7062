import { fork } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { withoutSecretVariables } from '../config.ts'
import { formatBytes } from '../format.ts'
import type { Log } from '../log.ts'
import { lowerPriority } from '../lower-priority.ts'
import { allocatorSettings } from '../memory-budget.ts'
import { deadlines } from '../deadlines.ts'
import { stopReading } from './hand-over.ts'
import { isHostReply } from './messages.ts'
import type { HostReply, HostRequest } from './messages.ts'

/** How the process is kept. Tests change these; the defaults are what runs. */
export interface HostTuning {
  readonly hostPath: string
  /** The process is asked for a sign of life this often, … */
  readonly heartbeatMs: number
  /**
   * … and killed when it has left so many unanswered, three times as many before its first word. Counted, not timed: a
   * machine that slept must not kill it.
   */
  readonly missedBeats: number
  /** It is killed, too, when it says twice in a row that it has more memory than this. */
  readonly memoryLimitBytes: number
  /** The wait before a restart: doubles from the first to the last, … */
  readonly firstRestartMs: number
  readonly lastRestartMs: number
  /** … and begins anew once the process has lived so long. */
  readonly steadyMs: number
  /** How long it may take to stop before it is killed. */
  readonly stopMs: number
}

/** Each is an open file of the server. */
const maxOnTheirWay = 64

/** A cached stream is not to wait for a download. */
const NICENESS = 5

const defaults: HostTuning = {
  hostPath: fileURLToPath(new URL('./host.ts', import.meta.url)),
  heartbeatMs: deadlines.swarmProcessMs / 4,
  missedBeats: 4,
  memoryLimitBytes: Infinity,
  firstRestartMs: 500,
  lastRestartMs: 30_000,
  steadyMs: 60_000,
  stopMs: 3_000
}

/**
 * Keeps one child process alive: starts it, restarts it with growing waits when it dies or hangs, and ends it. 'up':
 * it can be written to. 'down': it is gone, and why; it comes back by itself unless stop() was called.
 */
export class HostProcess extends EventEmitter<{ up: [], down: [reason: string], reply: [HostReply] }> {
  readonly #tuning: HostTuning
  readonly #heapMb: number
  readonly #log: Log
  #child: ChildProcess | null = null
  #heartbeat: NodeJS.Timeout | null = null
  #restart: NodeJS.Timeout | null = null
  #restartMs: number
  #unanswered = 0
  /** Beats in a row at which it had too much memory. */
  #fatBeats = 0
  #hasSpoken = false
  #isOver = false
  #lastWords = ''
  /** Connections that are being handed over, in their order. */
  readonly #onTheirWay: Socket[] = []

  /** @param heapMb limit of the child's JavaScript heap. */
  constructor (heapMb: number, log: Log, tuning: Partial<HostTuning> = {}) {
    super()
    this.#heapMb = heapMb
    this.#log = log
    this.#tuning = { ...defaults, ...tuning }
    this.#restartMs = this.#tuning.firstRestartMs
  }

  /** The child's process id, null while there is none. */
  get pid (): number | null {
    return this.#child?.pid ?? null
  }

  /** Starts it. Never throws: a process that cannot be started is one that died. */
  start (): void {
    if (this.#child !== null || this.#isOver) return
    this.#lastWords = ''
    this.#unanswered = 0
    this.#fatBeats = 0
    this.#hasSpoken = false
    const startedAt = performance.now()
    let child: ChildProcess
    try {
      child = fork(this.#tuning.hostPath, {
        serialization: 'advanced',
        env: { ...allocatorSettings, ...withoutSecretVariables(process.env) },
        execArgv: [`--max-old-space-size=${this.#heapMb}`],
        stdio: ['ignore', 'ignore', 'pipe', 'ipc']
      })
    } catch (error) {
      this.#startAgain(error instanceof Error ? error.message : String(error))
      return
    }
    this.#child = child
    lowerPriority(child, NICENESS)
    let isGone = false
    const onGone = (reason: string): void => {
      if (isGone) return
      isGone = true
      if (this.#heartbeat !== null) clearInterval(this.#heartbeat)
      this.#heartbeat = null
      this.#child = null
      for (const socket of this.#onTheirWay.splice(0)) socket.destroy()
      if (performance.now() - startedAt >= this.#tuning.steadyMs) this.#restartMs = this.#tuning.firstRestartMs
      this.#startAgain(this.#lastWords === '' ? reason : `${reason}: ${this.#lastWords}`)
    }
    // 'error' alone comes when it could not be started; also when a message could not be sent, and then 'exit' follows.
    child.on('error', (error) => { if (child.pid === undefined) onGone(error.message) })
    child.on('exit', (code, signal) => { onGone(signal === null ? `it ended with code ${code}` : `it was ended by ${signal}`) })
    child.on('message', (message: unknown) => { if (isHostReply(message)) this.#onReply(message) })
    child.stderr?.setEncoding('utf8')
    child.stderr?.on('data', (text: string) => { this.#log.debug({ text: text.trim().slice(0, 2_000) }, 'the swarm process wrote to stderr') })
    child.stderr?.on('error', () => {})
    this.#heartbeat = setInterval(() => { this.#beat() }, this.#tuning.heartbeatMs)
    this.#heartbeat.unref()
    this.emit('up')
  }

  /** Sends a request. Lost without a word while the process is down: 'up' is the time to say everything anew. */
  send (request: HostRequest): void {
    const child = this.#child
    // A failed send is followed by 'exit'.
    if (child?.connected === true) child.send(request, () => {})
  }

  /**
   * Hands a connection over. It is dropped while the process is down, and when so many are on their way that the
   * process seems to hang.
   *
   * @param bytes what was read from it.
   */
  handOver (socket: Socket, bytes: Buffer): void {
    const child = this.#child
    if (child?.connected !== true || this.#onTheirWay.length >= maxOnTheirWay) {
      socket.destroy()
      return
    }
    this.#onTheirWay.push(socket)
    const read = stopReading(socket, bytes)
    socket.on('error', () => {})
    // Kept open here until the process has it: without, Node forgets to close those that a dead process did not take.
    child.send({ type: 'connection', bytes: read } satisfies HostRequest, socket, { keepOpen: true }, (error) => { if (error !== null) socket.destroy() })
  }

  /** Ends it for good: asks first, kills after `stopMs`. Resolves when it is gone. */
  async stop (): Promise<void> {
    this.#isOver = true
    if (this.#restart !== null) clearTimeout(this.#restart)
    this.#restart = null
    const child = this.#child
    if (child === null) return
    const gone = new Promise<void>(resolve => { this.once('down', () => { resolve() }) })
    const killer = setTimeout(() => { child.kill('SIGKILL') }, this.#tuning.stopMs)
    this.send({ type: 'stop' })
    await gone
    clearTimeout(killer)
  }

  #onReply (reply: HostReply): void {
    this.#hasSpoken = true
    if (reply.type === 'pong') this.#onPong(reply.memoryBytes)
    else if (reply.type === 'crash') this.#lastWords = reply.reason
    else if (reply.type === 'took') this.#onTheirWay.shift()?.destroy()
    else this.emit('reply', reply)
  }

  /** A heap has its own limit; what leaks beside it would take the whole machine, and the server with it. */
  #onPong (memoryBytes: number): void {
    this.#unanswered = 0
    this.#fatBeats = memoryBytes > this.#tuning.memoryLimitBytes ? this.#fatBeats + 1 : 0
    if (this.#fatBeats < 2) return
    this.#lastWords = `it took ${formatBytes(memoryBytes)} of memory`
    this.#child?.kill('SIGKILL')
  }

  #beat (): void {
    // Loading takes its time on a small machine.
    if (this.#unanswered >= this.#tuning.missedBeats * (this.#hasSpoken ? 1 : 3)) {
      this.#lastWords = 'it did not answer'
      this.#child?.kill('SIGKILL')
      return
    }
    this.#unanswered++
    this.send({ type: 'ping', beat: this.#unanswered })
  }

  #startAgain (reason: string): void {
    if (!this.#isOver) {
      this.#restart = setTimeout(() => { this.start() }, this.#restartMs)
      this.#restartMs = Math.min(this.#restartMs * 2, this.#tuning.lastRestartMs)
    }
    this.emit('down', reason)
  }
}
