import { isIPv4 } from 'node:net'
import { join } from 'node:path'
import { stateFolder } from '../cache/stored-files.ts'
import type { Log } from '../log.ts'
import { readBounded } from '../read-bounded.ts'
import { writeFileAtomically } from '../write-file.ts'

/** What a node of the DHT knows that is worth keeping: who it is, and whom it knows (BEP 5). */
export interface DhtState {
  /** 40 hex digits. */
  readonly nodeId: string
  /** `ip:port`, IPv4, those first that were heard of last. */
  readonly nodes: readonly string[]
}

const formatVersion = 1
const mostNodes = 1_000
const mostBytes = 1_000_000
const hexId = /^[0-9a-f]{40}$/

/**
 * `.self-streme/dht.json`: the DHT as it was when the server last ran, so that it need not be found again. A file that is
 * not as it should be is as good as none.
 */
export class DhtFile {
  readonly #path: string
  readonly #log: Log
  #isReadOnly: boolean
  #state: DhtState | null = null
  #saving: Promise<void> = Promise.resolve()

  private constructor (directory: string, isReadOnly: boolean, log: Log) {
    this.#path = join(directory, stateFolder, 'dht.json')
    this.#isReadOnly = isReadOnly
    this.#log = log
  }

  /** @param directory the download directory. Never throws: the DHT works without. */
  static async open ({ directory, isReadOnly = false, log }: { readonly directory: string, readonly isReadOnly?: boolean, readonly log: Log }): Promise<DhtFile> {
    const file = new DhtFile(directory, isReadOnly, log)
    try {
      file.#state = parseDhtState(await readBounded(file.#path, mostBytes))
    } catch (error) {
      // One of a newer version is its own: it is left as it is.
      if (error instanceof NewerFormat) file.#isReadOnly = true
      const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
      if (!isMissing) log.warn({ path: file.#path, err: error }, 'what is known of the DHT cannot be read: it is found anew')
    }
    return file
  }

  /** What was last saved, or read; null: nothing. */
  get state (): DhtState | null {
    return this.#state
  }

  /** Keeps this from now on; on the disk in a moment. */
  save (state: DhtState): void {
    this.#state = state
    if (this.#isReadOnly) return
    this.#saving = this.#saving.then(async () => {
      // Another one is behind it.
      if (this.#state !== state) return
      await writeFileAtomically(this.#path, JSON.stringify({ version: formatVersion, ...state }))
    }).catch((error: unknown) => { this.#log.debug({ path: this.#path, err: error }, 'what is known of the DHT cannot be saved') })
  }

  /** Resolves when what was given to save() is on the disk, or cannot be. */
  async saved (): Promise<void> {
    await this.#saving
  }
}

class NewerFormat extends Error {}

/** Throws for what is no state of a DHT; leaves out nodes that are none. */
export function parseDhtState (text: string): DhtState {
  const found: unknown = JSON.parse(text)
  if (typeof found !== 'object' || found === null || !('version' in found)) throw new Error('it is of no known format')
  if (typeof found.version === 'number' && found.version > formatVersion) throw new NewerFormat(`a newer Self-Streme wrote it, in format ${found.version}`)
  if (found.version !== formatVersion) throw new Error('it is of no known format')
  if (!('nodeId' in found) || typeof found.nodeId !== 'string' || !hexId.test(found.nodeId)) throw new Error('its node id is none')
  if (!('nodes' in found) || !Array.isArray(found.nodes)) throw new Error('it has no list of nodes')
  return { nodeId: found.nodeId, nodes: found.nodes.slice(0, mostNodes).filter(isNode) }
}

function isNode (node: unknown): node is string {
  const [, host, port] = typeof node === 'string' ? /^([\d.]{7,15}):(\d{1,5})$/.exec(node) ?? [] : []
  return host !== undefined && isIPv4(host) && Number(port) > 0 && Number(port) < 65536
}
