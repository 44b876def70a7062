import { canonicalAddress } from '../download/address-guard.ts'

/** Who a peer is, as far as we can know it. */
export interface PeerIdentity {
  /** As canonicalAddress() gives it. */
  readonly ip: string
  /** The port of our connection with it. Of one that came to us it is any port; of one that we dialled it is where it listens. */
  readonly port: number
  /** 40 hex digits; what it says of itself, so it counts only together with the address. */
  readonly peerId: string
}

interface Offender {
  offences: number
  /** Times it was banned. */
  times: number
  bannedUntil: number
  /** Without news it is forgotten then. */
  forgetAt: number
}

/** Wrong pieces that were proven of a peer; peers at one IP of which one was proven, where nobody there is honest. */
const LIMITS = { peer: 2, ip: 4 }
const FIRST_BAN_MS = 3_600_000
const LONGEST_BAN_MS = 24 * 3_600_000
const MEMORY_MS = 2 * LONGEST_BAN_MS
const FIRST_REST_MS = 5 * 60_000
const RECORDS = 5_000

/**
 * Who has sent wrong data, over all torrents of the swarm. A peer is banned by its ip:port and by its id at its IP,
 * because several may live behind one address; the IP itself follows when lies go on from there under other names, and no
 * honest peer is known at it. An hour, doubled each further time. Bounded: the oldest are forgotten first.
 *
 * Peers that only waste time are set aside, by the same names, for minutes: they count as no ban.
 */
export class Bans {
  readonly #records = new Map<string, Offender>()
  /** By IP: the honest ones there, and when they last brought a right piece. */
  readonly #honest = new Map<string, Map<string, number>>()
  readonly #resting = new Map<string, { until: number, times: number }>()
  readonly #now: () => number
  #total = 0

  /** @param now a clock in milliseconds that never goes back. */
  constructor (now = (): number => performance.now()) {
    this.#now = now
  }

  /** Bans that hold now: of peers, and of whole IPs. */
  get count (): number {
    const now = this.#now()
    let count = 0
    // A peer has two names, of which one is looked at.
    for (const [name, { bannedUntil }] of this.#records) if (bannedUntil > now && !name.includes('/')) count++
    return count
  }

  /** Peers banned since the start. */
  get total (): number {
    return this.#total
  }

  /** A wrong piece of this peer was proven. True: it is banned from now on. */
  offend (who: PeerIdentity): boolean {
    const [address, id] = namesOf(who)
    this.#honest.get(who.ip)?.delete(who.peerId)
    // What comes to light later was sent before: it says nothing of others at its IP.
    if (this.#isBanned(id)) return false
    const isBanned = [this.#note(address, LIMITS.peer), this.#note(id, LIMITS.peer)].includes(true)
    if (isBanned) {
      this.#ban(address)
      this.#ban(id)
      this.#total++
    }
    const isFirst = this.#records.get(id)?.offences === 1
    if (isFirst && this.#note(who.ip, LIMITS.ip) && !this.#hasHonest(who.ip)) this.#ban(who.ip)
    return isBanned
  }

  /** A piece that this peer had a part in was right. */
  vouch ({ ip, peerId, port }: PeerIdentity): void {
    if ((this.#records.get(namesOf({ ip, peerId, port })[1])?.offences ?? 0) > 0) return
    const peers = this.#honest.get(ip) ?? new Map<string, number>()
    peers.delete(peerId)
    peers.set(peerId, this.#now())
    trim(peers, 10)
    this.#honest.delete(ip)
    this.#honest.set(ip, peers)
    trim(this.#honest, RECORDS)
  }

  /** This peer wastes our time: it is left alone for some minutes, longer each further time. */
  setAside (who: PeerIdentity): void {
    const now = this.#now()
    for (const name of namesOf(who)) {
      const times = (this.#resting.get(name)?.times ?? 0) + 1
      this.#resting.delete(name)
      this.#resting.set(name, { times, until: now + Math.min(FIRST_REST_MS * 2 ** (times - 1), FIRST_BAN_MS) })
    }
    trim(this.#resting, RECORDS)
  }

  /** Is an address refused that is about to be dialled, or from which somebody comes? */
  isRefused (ip: string, port: number): boolean {
    return this.#isOut(ip) || this.#isOut(`${ip}:${port}`)
  }

  /** The same of a peer that has said its id. One that is known by that is from now on known by this address, too. */
  isPeerRefused (who: PeerIdentity): boolean {
    const [address, id] = namesOf(who)
    if (this.isRefused(who.ip, who.port)) return true
    if (!this.#isOut(id)) return false
    const [offender, rest] = [this.#records.get(id), this.#resting.get(id)]
    if (offender !== undefined) this.#records.set(address, offender)
    if (rest !== undefined) this.#resting.set(address, rest)
    trim(this.#records, RECORDS)
    trim(this.#resting, RECORDS)
    return true
  }

  #isBanned (name: string): boolean {
    return (this.#records.get(name)?.bannedUntil ?? -Infinity) > this.#now()
  }

  #isOut (name: string): boolean {
    return this.#isBanned(name) || (this.#resting.get(name)?.until ?? -Infinity) > this.#now()
  }

  /** Counts an offence. True: it was one too many. */
  #note (name: string, limit: number): boolean {
    const now = this.#now()
    const known = this.#records.get(name)
    const record = known === undefined || known.forgetAt < now ? { offences: 0, times: 0, bannedUntil: -Infinity, forgetAt: 0 } : known
    record.offences++
    record.forgetAt = now + MEMORY_MS
    this.#records.delete(name)
    this.#records.set(name, record)
    trim(this.#records, RECORDS)
    // After a ban there is no patience left: one more is enough.
    return record.offences >= limit
  }

  #ban (name: string): void {
    const record = this.#records.get(name)
    if (record === undefined) return
    const now = this.#now()
    record.bannedUntil = now + Math.min(FIRST_BAN_MS * 2 ** record.times, LONGEST_BAN_MS)
    record.times++
    record.forgetAt = record.bannedUntil + MEMORY_MS
  }

  #hasHonest (ip: string): boolean {
    const now = this.#now()
    return [...this.#honest.get(ip)?.values() ?? []].some((at) => now - at < FIRST_BAN_MS)
  }
}

/** `ip:port` or `[ip]:port`, also without the brackets, in parts; null: it is neither. */
export function splitAddress (address: string): { readonly ip: string, readonly port: number } | null {
  const [, six, other, port] = /^(?:\[([^\]]+)\]|(.+)):(\d{1,5})$/.exec(address) ?? []
  const ip = canonicalAddress(six ?? other ?? '')
  return ip === null ? null : { ip, port: Number(port) }
}

function namesOf ({ ip, port, peerId }: PeerIdentity): [address: string, id: string] {
  return [`${ip}:${port}`, `${ip}/${peerId}`]
}

function trim (map: Map<string, unknown>, limit: number): void {
  for (const oldest of map.keys()) {
    if (map.size <= limit) return
    map.delete(oldest)
  }
}
