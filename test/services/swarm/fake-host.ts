import { existsSync, writeFileSync } from 'node:fs'
import { emptyReport } from '../../../services/nat/network-report.ts'
import { isHostRequest } from '../../../services/swarm/messages.ts'
import type { HostReply, HostRequest } from '../../../services/swarm/messages.ts'

/**
 * A process in the place of the swarm's, which does what the first of its options' `trackers` says:
 * `well` is ready and repeats what it hears; `unavailable`; `crash` ends at once; `hang FILE` never answers again, the
 * first time; `deaf` is ready and does not stop when asked to; `fat` says that it has a petabyte of
 * memory. A torrent's `peers` are replies (JSON) that it makes.
 */

function tell (reply: HostReply): void {
  process.send?.(reply)
}

function beReady (): void {
  const nothing = emptyReport('it is a fake', '')
  tell({ type: 'network', report: { ...nothing, ports: { ...nothing.ports, tcp: 4_242, utp: 4_242, wanted: 6_881 }, hasUtp: true } })
  tell({ type: 'ready' })
}

function begin (mode: string): void {
  if (mode === 'unavailable') tell({ type: 'unavailable', reason: 'no native parts' })
  else if (mode === 'crash') process.send?.({ type: 'crash', reason: 'Error: it broke\n    at somewhere' } satisfies HostReply, undefined, undefined, () => { process.exit(1) })
  else beReady()
  const [verb, file] = mode.split(' ')
  if (verb === 'hang' && file !== undefined && !existsSync(file)) {
    writeFileSync(file, '')
    // Until the message is out; then nothing is heard or said any more.
    setTimeout(() => { for (;;); }, 50)
  }
}

let mode = ''

function hear (request: HostRequest): void {
  if (request.type === 'start') {
    mode = request.options.trackers[0] ?? 'well'
    begin(mode)
  } else if (request.type === 'ping') {
    tell({ type: 'pong', beat: request.beat, memoryBytes: mode === 'fat' ? 2 ** 50 : 1 })
  } else if (request.type === 'stop') {
    if (mode !== 'deaf') process.exit(0)
  } else {
    tell({ type: 'log', level: 'debug', fields: request, message: 'heard' })
    if (request.type === 'peers') for (const reply of request.peers) process.send?.(JSON.parse(reply))
  }
}

process.on('SIGTERM', () => {})
process.on('disconnect', () => { process.exit(0) })
process.on('message', (message: unknown) => { if (isHostRequest(message)) hear(message) })
