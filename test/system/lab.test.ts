import { createInterface } from 'node:readline'
import { once } from 'node:events'
import t from 'tap'
import { startLab } from '../lab.ts'
import type { LabHost, NatKind } from '../lab.ts'
import { testWith } from '../testnet.ts'

/** Answers each datagram with the address it came from; `reply ip port` on stdin sends one from a port of its own. */
const echo = `
import socket, sys, threading
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], int(sys.argv[2])))
def loop():
    while True:
        data, source = s.recvfrom(2000)
        s.sendto(("%s:%d" % source).encode(), source)
threading.Thread(target=loop, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
`

/** From one socket: asks each target who it is, then listens for what comes unasked. */
const ask = `
import socket, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 6881)); s.settimeout(2)
for target in sys.argv[1:]:
    host, port = target.split(":")
    s.sendto(b"who am i", (host, int(port)))
    print(s.recv(100).decode(), flush=True)
try:
    while True: print("unasked " + s.recv(100).decode(), flush=True)
except TimeoutError: print("end", flush=True)
`

const send = 'import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], int(sys.argv[2]))); s.sendto(sys.argv[5].encode(), (sys.argv[3], int(sys.argv[4])))'

async function startEcho (host: LabHost, port: number): Promise<void> {
  const child = host.spawn('/usr/bin/python3', ['-c', echo, host.address, String(port)])
  if (child.stdout !== null) await once(child.stdout, 'data')
}

const kinds: Array<{ kind: NatKind, isSymmetric: boolean, letsIn: string[] }> = [
  { kind: 'none', isSymmetric: false, letsIn: ['stranger', 'other port'] },
  { kind: 'full cone', isSymmetric: false, letsIn: ['stranger', 'other port'] },
  { kind: 'address restricted', isSymmetric: false, letsIn: ['other port'] },
  { kind: 'port restricted', isSymmetric: false, letsIn: [] },
  { kind: 'symmetric', isSymmetric: true, letsIn: [] }
]

for (const { kind, isSymmetric, letsIn } of kinds) {
  testWith(t, `the laboratory's NAT is what it says: ${kind}`, async (t) => {
    const lab = await startLab(t)
    const first = await lab.host()
    const second = await lab.host()
    const stranger = await lab.host()
    const host = await lab.host({ nat: kind })
    await startEcho(first, 1000)
    await startEcho(second, 1000)
    const child = host.spawn('/usr/bin/python3', ['-c', ask, `${first.address}:1000`, `${second.address}:1000`])
    if (child.stdout === null) throw new Error('no stdout')
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    const seen = [(await lines.next()).value ?? '', (await lines.next()).value ?? '']
    t.equal(new Set(seen).size === 2, isSymmetric, `two servers see ${seen.join(' and ')}`)
    t.ok(seen.every((address) => address.startsWith(`${host.publicAddress}:`)))
    const [, port = ''] = (seen[0] ?? '').split(':')
    await stranger.run('/usr/bin/python3', ['-c', send, stranger.address, '1000', host.publicAddress, port, 'stranger'])
    await first.run('/usr/bin/python3', ['-c', send, first.address, '1001', host.publicAddress, port, 'other port'])
    const unasked: string[] = []
    for (let line = await lines.next(); line.done !== true && line.value !== 'end'; line = await lines.next()) unasked.push(line.value.replace('unasked ', ''))
    t.same(unasked.sort(), [...letsIn].sort(), 'who may send unasked')
  })
}

testWith(t, 'a link of the laboratory without UDP carries TCP', async (t) => {
  const lab = await startLab(t)
  const server = await lab.host()
  const host = await lab.host({ nat: 'port restricted', blocksUdp: true })
  await startEcho(server, 1000)
  await t.rejects(host.run('/usr/bin/python3', ['-c', ask, `${server.address}:1000`]), /timed out/)
  server.spawn('/usr/bin/python3', ['-m', 'http.server', '8000', '--bind', server.address])
  t.match(await host.run('curl', ['-s', '--retry', '20', '--retry-connrefused', '--retry-delay', '1', `http://${server.address}:8000/`]), /Directory listing/)
  await lab.block(host, server)
  await t.rejects(host.run('curl', ['-s', '-m', '1', `http://${server.address}:8000/`]), 'two hosts can be parted')
})
