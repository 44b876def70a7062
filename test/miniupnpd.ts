import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Test } from 'tap'
import type { LabHost } from './lab.ts'
import { missing, temporaryDirectory } from './testnet.ts'

export interface RouterChoices {
  readonly upnp?: boolean
  /** NAT-PMP and PCP. */
  readonly pcp?: boolean
  /** More lines of its configuration. */
  readonly lines?: readonly string[]
}

export interface Router {
  /** The forwarded ports: `tcp 6881 -> 10.0.1.2:6881`. */
  forwards (): Promise<string[]>
  output (): string
  /** Ends it, as a router that loses its power: what it forwards stays. */
  stop (): Promise<void>
}

/** miniupnpd (Debian's) on a gateway of the laboratory: UPnP IGD 2, NAT-PMP and PCP. */
export async function startRouter (t: Test, gateway: LabHost | null, { upnp = true, pcp = true, lines = [] }: RouterChoices = {}): Promise<Router> {
  if (gateway === null) throw new Error('this host has no gateway')
  const directory = await temporaryDirectory(t)
  const path = join(directory, 'miniupnpd.conf')
  await gateway.run('nft', ['-f', '-'], {
    input: `table inet filter {
      chain forward { type filter hook forward priority 0; policy accept; jump miniupnpd; }
      chain miniupnpd { }
      chain prerouting { type nat hook prerouting priority -100; policy accept; jump prerouting_miniupnpd; }
      chain postrouting { type nat hook postrouting priority 100; policy accept; jump postrouting_miniupnpd; }
      chain prerouting_miniupnpd { }
      chain postrouting_miniupnpd { }
    }`
  })
  await writeFile(path, [
    'ext_ifname=wan', 'listening_ip=lan', 'http_port=0', 'uuid=4fd4ad4e-97c2-4a5c-9a3c-5d7d4e0f7d10', 'secure_mode=yes',
    `enable_upnp=${upnp ? 'yes' : 'no'}`, `enable_natpmp=${pcp ? 'yes' : 'no'}`, 'min_lifetime=2', 'max_lifetime=86400',
    ...lines, 'allow 1024-65535 10.0.0.0/8 1024-65535', 'deny 0-65535 0.0.0.0/0 0-65535', ''
  ].join('\n'))
  const child = gateway.spawn('miniupnpd', ['-f', path, '-d', '-P', join(directory, 'pid')])
  let output = ''
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output = (output + text).slice(-100_000)
      if (/listening/i.test(output)) resolve()
    })
  }
  void once(child, 'exit').then(([code]) => { reject(code === 127 ? missing('miniupnpd') : new Error(`miniupnpd ended: ${output}`)) })
  await promise
  return {
    output: () => output,
    async forwards () {
      const rules = await gateway.run('nft', ['list', 'chain', 'inet', 'filter', 'prerouting_miniupnpd'])
      // nft has no name for what miniupnpd matches: the protocol's number in the header.
      return [...rules.matchAll(/0x(6|11) th dport (\d+) dnat ip to ([\d.]+:\d+)/g)].map(([, protocol, port, target]) => `${protocol === '6' ? 'tcp' : 'udp'} ${port} -> ${target}`).sort()
    },
    async stop () {
      const gone = once(child, 'exit')
      child.kill('SIGKILL')
      await gone
    }
  }
}
