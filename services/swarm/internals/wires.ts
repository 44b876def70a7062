import { Socket } from 'node:net'
import type { Torrent, Wire } from 'webtorrent'
import { endpointFrom, endpointOf } from '../endpoint.ts'
import { peerFlags } from '../neighbour.ts'
import type { Neighbour } from '../neighbour.ts'

/** Offers an extension of BEP 10 on this wire, before its extended handshake has gone out: in the 'wire' event. */
export function offerExtension (wire: Wire, name: string, onMessage: (message: Uint8Array) => void): void {
  class Extension {
    onMessage (message: Uint8Array): void {
      onMessage(message)
    }
  }
  Object.defineProperty(Extension.prototype, 'name', { value: name })
  wire.use(Extension)
}

/** Says in the extended handshake where we listen: libtorrent tells nobody of a peer that dialled it and did not say so. 0: unknown. */
export function sayPort (wire: Wire, port: number): void {
  if (port !== 0) wire.extendedHandshake['p'] = port
}

/**
 * The peer at the other end, in the 'wire' event or later. Null where there is none to be introduced: WebRTC, and a peer
 * that has gone.
 */
export function neighbourOf (torrent: Torrent, wire: Wire): Neighbour | null {
  const remote = endpointOf(wire.remoteAddress ?? '', wire.remotePort ?? 0)
  const peer = [...torrent._peers?.values() ?? []].find((peer) => peer.wire === wire)
  const isOutgoing = wire.type.endsWith('Outgoing')
  if (remote === null || peer === undefined || !(isOutgoing || wire.type.endsWith('Incoming'))) return null
  // The wire was named when uTP was dialled; TCP beside it may have won.
  const isUtp = !(peer.conn instanceof Socket)
  let receivedBytes = 0
  peer.on('download', (bytes: number) => { receivedBytes += bytes })
  return {
    get receivedBytes () { return receivedBytes },
    get ownAddress () {
      const { yourip } = wire.peerExtendedHandshake
      return yourip instanceof Uint8Array ? endpointFrom(Buffer.concat([yourip, Buffer.from([0, 1])]))?.address ?? null : null
    },
    peerId: wire.peerId,
    remote,
    isUtp,
    isOutgoing,
    isPunched: false,
    get listening () {
      if (isOutgoing || isUtp) return remote
      const { p } = wire.peerExtendedHandshake
      return typeof p === 'number' ? endpointOf(remote.address, p) : null
    },
    get flags () {
      const { e, upload_only: uploadOnly } = wire.peerExtendedHandshake
      return (e === 1 || wire._cryptoHandshakeDone ? peerFlags.prefersEncryption : 0) |
        (wire.isSeeder === true || uploadOnly === 1 ? peerFlags.isSeed : 0) |
        (isUtp ? peerFlags.hasUtp : 0) |
        (wire.peerExtendedMapping['ut_holepunch'] ? peerFlags.hasHolepunch : 0)
    },
    supports: (extension) => Boolean(wire.peerExtendedMapping[extension]),
    send (extension, message) {
      if (wire.peerExtendedMapping[extension]) wire.extended(extension, message)
    },
    close () { wire.destroy() }
  }
}

/** What comes of it is thrown away. */
const probe = Buffer.from('d8:msg_typei0e5:piecei0ee')

/** Asks the peer for something that anybody who has the metadata answers (BEP 9). False: it has said that it does not know that. */
export function probePeer (wire: Wire): boolean {
  if (!wire.peerExtendedMapping['ut_metadata']) return false
  wire.extended('ut_metadata', probe)
  return true
}

/** Calls back with whatever comes from the peer, be it a part of a block. */
export function onBytes (torrent: Torrent, wire: Wire, callback: () => void): void {
  const peer = [...torrent._peers?.values() ?? []].find((peer) => peer.wire === wire)
  peer?.on('download', callback)
}
