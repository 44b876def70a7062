import crypto from 'node:crypto'
import type { DiffieHellman } from 'node:crypto'
import type { Torrent, Wire } from 'webtorrent'

/**
 * Sends what is written to this peer at once. By itself the system holds small messages back until the peer has
 * acknowledged the one before (Nagle), which it may do 40 ms late: a request after an "interested", a "have" after a block.
 * Only TCP has that.
 */
export function sendAtOnce (torrent: Torrent, wire: Wire): void {
  for (const { wire: other, conn } of torrent._peers?.values() ?? []) {
    if (other !== wire || typeof conn !== 'object' || conn === null) continue
    if ('setNoDelay' in conn && typeof conn.setNoDelay === 'function') conn.setNoDelay(true)
  }
}

/**
 * Sends what is written in one turn as one: a dozen requests would be as many packets, and as many calls into the system.
 */
export function sendTogether (wire: Wire): void {
  let written: Uint8Array[] = []
  const flush = (): void => {
    const [first, ...more] = written
    written = []
    if (first !== undefined && !wire._finished) wire.push(more.length === 0 ? first : Buffer.concat([first, ...more]))
  }
  wire._push = (bytes) => {
    if (wire._finished) return
    if (written.length === 0) queueMicrotask(flush)
    written.push(wire._encryptor?.encrypt(bytes) ?? bytes)
  }
}

/**
 * Joins the packets of a message once, when it is whole. By itself WebTorrent copies all that has come of it for each
 * packet, and over uTP a block has a dozen.
 */
export function joinOnce (wire: Wire): void {
  const write = wire._write.bind(wire)
  wire._write = (bytes, done) => {
    const isEnough = wire._bufferSize + bytes.length >= wire._parserSize
    // It looks for the end of something whose length it does not know yet.
    if (isEnough || wire._cryptoSyncPattern != null) {
      write(bytes, done)
      return
    }
    wire._buffer.push(wire._encryptor?.decrypt(bytes) ?? bytes)
    wire._bufferSize += bytes.length
    done(null)
  }
}

/** The group of encrypted handshakes (MSE), and how long a private key has to be at least. */
const msePrime = 'ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404ddef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a63a36210000000000090563'
const mseGenerator = 2
const privateKeyBytes = 20

/**
 * Checks the prime of encrypted handshakes once, now, and not for each connection: that takes 14 ms of this process each
 * time, 0.7 s for fifty peers.
 */
export function checkPrimeOnce (): void {
  const create = crypto.createDiffieHellman
  const group = create(msePrime, 'hex', mseGenerator)
  const createUnchecked = (...args: unknown[]): unknown =>
    args[0] === msePrime && args[1] === 'hex' && args[2] === mseGenerator ? new KeyPair(group) : Reflect.apply(create, crypto, args)
  Object.assign(crypto, { createDiffieHellman: createUnchecked })
}

/** A key pair of its own in a group that many share: what MSE uses of a DiffieHellman. */
class KeyPair {
  readonly #group: DiffieHellman
  readonly #privateKey = crypto.randomBytes(privateKeyBytes)

  constructor (group: DiffieHellman) {
    this.#group = group
  }

  generateKeys (): Buffer {
    this.#group.setPrivateKey(this.#privateKey)
    return this.#group.generateKeys()
  }

  computeSecret (publicKey: Uint8Array): Buffer {
    this.#group.setPrivateKey(this.#privateKey)
    return this.#group.computeSecret(publicKey)
  }
}
