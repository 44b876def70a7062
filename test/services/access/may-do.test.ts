import t from 'tap'
import { allowed, mayDo } from '../../../services/access/may-do.ts'
import type { Action, Proof, StreamAccess } from '../../../services/access/may-do.ts'

const all: readonly Proof[] = ['token', 'trusted', 'secret', 'signature']
const everybody = [null, ...all]
const owner: readonly Proof[] = ['token', 'trusted']
const guests: readonly Proof[] = ['token', 'trusted', 'secret']
const links: readonly Proof[] = ['token', 'secret', 'signature']

const table: ReadonlyArray<[Action, StreamAccess, ReadonlyArray<Proof | null>]> = [
  ['public', 'open', everybody],
  ['public', 'known', everybody],
  ['public', 'signed', everybody],
  ['stream', 'open', everybody],
  ['stream', 'known', everybody],
  ['stream', 'signed', links],
  ['add', 'open', everybody],
  ['add', 'known', links],
  ['add', 'signed', links],
  ['list', 'open', owner],
  ['list', 'known', owner],
  ['list', 'signed', owner],
  ['manage', 'open', owner],
  ['manage', 'known', owner],
  ['manage', 'signed', owner],
  ['relay', 'open', guests],
  ['relay', 'known', guests],
  ['relay', 'signed', guests]
]

t.test('one proof of the cell is enough, and no other helps', async (t) => {
  for (const [action, mode, enough] of table) {
    for (const proof of everybody) t.equal(mayDo(action, new Set(proof === null ? [] : [proof]), mode), enough.includes(proof), `${action} under ${mode} with ${proof ?? 'nothing'}`)
    t.ok(mayDo(action, new Set(all), mode), `${action} under ${mode} with everything`)
  }
})

t.test('what a client may is told in the order of the table', async (t) => {
  t.same(allowed(new Set(), 'open'), ['public', 'stream', 'add'])
  t.same(allowed(new Set(), 'signed'), ['public'])
  t.same(allowed(new Set<Proof>(['token']), 'signed'), ['public', 'stream', 'add', 'list', 'manage', 'relay'])
  t.same(allowed(new Set<Proof>(['secret']), 'signed'), ['public', 'stream', 'add', 'relay'])
})
