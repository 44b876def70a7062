import t from 'tap'
import { urgencies } from '../../../services/pieces/demand.ts'
import { shareOf } from '../../../services/swarm/shares.ts'
import type { Sharer } from '../../../services/swarm/shares.ts'

const mebibyte = 1024 * 1024
const torrent = (pieceMb: number, lastServedAt = 0, urgency: Sharer['urgency'] = urgencies.waiting): Sharer => ({ urgency, pieceLength: pieceMb * mebibyte, lastServedAt })
const sharesOf = (all: readonly Sharer[], mb: number): number[] => all.map((each) => shareOf(each, all, mb * mebibyte) / mebibyte)

t.test('torrents with pieces that fit share alike; one that nobody wants anything of takes nothing away', async (t) => {
  t.same(sharesOf([torrent(4), torrent(1)], 64), [32, 32])
  t.same(sharesOf([torrent(4), torrent(1, 0, null)], 64), [64, 64])
})

t.test('pieces that do not all fit: one each, as many as fit, who has waited longest first', async (t) => {
  t.same(sharesOf([torrent(32, 3), torrent(32, 1), torrent(32, 2)], 64), [0, 32, 32])
})

t.test('a reader who waits goes before a download in the background', async (t) => {
  t.same(sharesOf([torrent(32, 0, urgencies.background), torrent(32, 9)], 40), [0, 32])
})

t.test('a piece larger than everything: one torrent at a time', async (t) => {
  t.same(sharesOf([torrent(32, 2), torrent(32, 1)], 8), [0, 32])
  t.same(sharesOf([torrent(32)], 8), [32], 'alone it has its one piece')
})
