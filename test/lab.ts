import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { hasStarted, missing, stopper } from './testnet.ts'

/**
 * An internet of a test's own: network namespaces joined by a router, some behind a NAT of the kernel. Nothing in them
 * reaches the machine's own network. They end with the test, or with its process.
 *
 * Addresses are ones that count as public, 45.67.N.0/29 for the N-th host; behind a NAT it is 10.0.N.2.
 */

/** RFC 4787 calls them by mapping and filtering; these are the names that people know (RFC 3489). */
export type NatKind = 'none' | 'full cone' | 'address restricted' | 'port restricted' | 'symmetric'

export interface HostChoices {
  /** What stands between it and the others; default none. */
  readonly nat?: NatKind
  /** How many public addresses it, or its gateway, has; default 1, at most 5. */
  readonly addresses?: number
  /** No UDP gets past its link. */
  readonly blocksUdp?: boolean
}

export interface RunChoices {
  /** Beside PATH and HOME. */
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

export interface LabHost {
  /** The first of its own addresses. */
  readonly address: string
  readonly addresses: readonly string[]
  /** The one that others see. */
  readonly publicAddress: string
  /** The router of its home; null where it has none. Its links are `wan` and `lan`. */
  readonly gateway: LabHost | null
  /** Runs a program in the namespace to its end, and gives what it printed; throws with its stderr, and after `limitMs` (60 s). */
  run (command: string, args: readonly string[], choices?: RunChoices & { readonly input?: string, readonly limitMs?: number }): Promise<string>
  /** Starts a program in the namespace, killed with the test. All its streams are pipes: read them. */
  spawn (command: string, args: readonly string[], choices?: RunChoices): ChildProcess
}

export interface Lab {
  host (choices?: HostChoices): Promise<LabHost>
  /** From now on nothing gets from one to the other, in either direction. */
  block (one: LabHost, other: LabHost): Promise<void>
}

/** Needs root, and Debian's iproute2 and nftables. */
export async function startLab (t: Test): Promise<Lab> {
  if (process.getuid?.() !== 0) throw missing('(none: network namespaces need root)')
  const router = await startNamespace(t)
  await router.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1'])
  await router.run('nft', ['-f', '-'], { input: 'table ip lab { chain forward { type filter hook forward priority 0; policy accept; }; }' })
  let count = 0

  /** Links a namespace to the router; gives its public addresses. */
  async function link (namespace: Namespace, n: number, { addresses: wanted = 1, blocksUdp = false }: HostChoices): Promise<string[]> {
    const addresses = Array.from({ length: wanted }, (_, i) => `45.67.${n}.${2 + i}`)
    await router.run('ip', ['link', 'add', `host${n}`, 'type', 'veth', 'peer', 'name', 'wan', 'netns', String(namespace.pid)])
    await router.run('ip', ['-batch', '-'], { input: `addr add 45.67.${n}.1/29 dev host${n}\nlink set host${n} up\n` })
    await namespace.run('ip', ['-batch', '-'], { input: [...addresses.map((address) => `addr add ${address}/29 dev wan`), 'link set wan up', `route add default via 45.67.${n}.1`].join('\n') })
    if (blocksUdp) await router.run('nft', ['add', 'rule', 'ip', 'lab', 'forward', `iifname host${n}`, 'meta', 'l4proto', 'udp', 'drop'])
    return addresses
  }

  return {
    async host (choices = {}) {
      const n = ++count
      const { nat = 'none' } = choices
      const namespace = await startNamespace(t)
      if (nat === 'none') return hostOf(namespace, await link(namespace, n, choices), null)
      const home = await startNamespace(t)
      const addresses = await link(home, n, choices)
      const address = `10.0.${n}.2`
      await home.run('ip', ['link', 'add', 'lan', 'type', 'veth', 'peer', 'name', 'eth', 'netns', String(namespace.pid)])
      await home.run('ip', ['-batch', '-'], { input: `addr add 10.0.${n}.1/24 dev lan\nlink set lan up\n` })
      await namespace.run('ip', ['-batch', '-'], { input: `addr add ${address}/24 dev eth\nlink set eth up\nroute add default via 10.0.${n}.1\n` })
      await home.run('nft', ['-f', '-'], { input: rulesOf(nat, address, addresses[0] ?? '') })
      await home.run('sysctl', ['-qw', 'net.ipv4.ip_forward=1'])
      return hostOf(namespace, [address], hostOf(home, addresses, null))
    },
    async block (one, other) {
      for (const [from, to] of [[one, other], [other, one]] as const) {
        await router.run('nft', ['add', 'rule', 'ip', 'lab', 'forward', 'ip', 'saddr', from.publicAddress, 'ip', 'daddr', to.publicAddress, 'drop'])
      }
    }
  }
}

function hostOf ({ run, spawn }: Namespace, addresses: readonly string[], gateway: LabHost | null): LabHost {
  const address = addresses[0] ?? ''
  return { address, addresses, publicAddress: gateway?.publicAddress ?? address, gateway, run, spawn }
}

/**
 * A NAT in nftables. All keep the port where they can, but the symmetric one. What nobody asked for is dropped without
 * an answer: answered, it would take the port in the connection table, and the next mapping would get another.
 */
function rulesOf (nat: Exclude<NatKind, 'none'>, host: string, address: string): string {
  const rewrite = nat === 'symmetric' ? 'masquerade fully-random' : `snat to ${address}`
  const inbound = {
    'full cone': `iifname "wan" meta l4proto udp dnat to ${host}`,
    'address restricted': `iifname "wan" meta l4proto udp ip saddr . udp dport @asked dnat to ${host}`,
    'port restricted': 'accept',
    symmetric: 'accept'
  }[nat]
  return `
    table ip home {
      set asked { type ipv4_addr . inet_service; flags dynamic,timeout; timeout 2m; }
      chain inbound { type nat hook prerouting priority dstnat; ${inbound}; }
      chain outbound { type nat hook postrouting priority srcnat; oifname "wan" ip saddr 10.0.0.0/8 ${rewrite}; }
      chain forward {
        type filter hook forward priority filter; policy drop;
        iifname "lan" meta l4proto udp update @asked { ip daddr . udp sport } accept
        iifname "lan" accept
        ct state established,related accept
        ct status dnat accept
      }
      chain input {
        type filter hook input priority filter; policy drop;
        iifname { "lan", "lo" } accept
        ct state established,related accept
      }
    }`
}

interface Namespace extends Pick<LabHost, 'run' | 'spawn'> {
  /** The process that holds it. */
  readonly pid: number
}

async function startNamespace (t: Test): Promise<Namespace> {
  // cat ends with its stdin, that is with this process, and the namespace with cat.
  const holder = spawn('unshare', ['--net', 'sh', '-c', 'ip link set lo up && echo ready && exec cat'], { stdio: ['pipe', 'pipe', 'pipe'] })
  t.teardown(stopper(holder))
  if (!await hasStarted(holder)) throw missing('util-linux')
  const ready: unknown = await Promise.race([once(holder.stdout, 'data'), once(holder, 'exit')])
  const pid = holder.pid
  if (pid === undefined || !Array.isArray(ready) || String(ready[0]).trim() !== 'ready') throw missing('iproute2 (and the right to make network namespaces)')

  const start: Namespace['spawn'] = (command, args, { env = {}, cwd } = {}) => {
    const { PATH, HOME } = process.env
    const child = spawn('nsenter', [`--net=/proc/${pid}/ns/net`, '--', command, ...args], { stdio: 'pipe', env: { PATH, HOME, ...env }, ...(cwd === undefined ? {} : { cwd }) })
    child.stdin.on('error', () => {})
    t.teardown(stopper(child))
    return child
  }

  return {
    pid,
    spawn: start,
    async run (command, args, { input = '', limitMs = 60_000, ...choices } = {}) {
      const child = start(command, args, choices)
      let output = ''
      let errors = ''
      child.stdout?.on('data', (chunk: Buffer) => { output += chunk.toString('latin1') })
      child.stderr?.on('data', (chunk: Buffer) => { errors += chunk.toString('latin1') })
      child.stdin?.end(input)
      const timer = setTimeout(() => { child.kill('SIGKILL') }, limitMs)
      const [code, signal]: unknown[] = await once(child, 'close')
      clearTimeout(timer)
      const what = `${command} ${args.join(' ')}`
      if (code === 127) throw missing(`that has ${command}`)
      if (code !== 0) throw new Error(`${what} ended with ${String(signal ?? code)}: ${errors}${input}`)
      return Buffer.from(output, 'latin1').toString()
    }
  }
}
