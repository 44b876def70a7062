import { constants, getPriority, setPriority } from 'node:os'
import type { ChildProcess } from 'node:child_process'

/** Where the processor is short, this process yields to the server, which answers people. `by` is added to the server's own niceness, as nice(1) does. */
export function lowerPriority ({ pid }: ChildProcess, by: number): void {
  try {
    if (pid !== undefined) setPriority(pid, Math.min(constants.priority.PRIORITY_LOW, getPriority() + by))
  } catch {
    // It has ended already, or the system does not let us: it runs all the same.
  }
}
