import t from 'tap'
import { mayDial, mayDialAnywhere } from '../../../services/swarm/peer-policy.ts'

const strangers = ['tracker', 'dht', 'ut_pex', 'magnet', 'manual', undefined] as const
const near = ['lsd', 'private-tracker', 'loopback-tracker'] as const
const own = ['127.0.0.1', '::1', '192.168.1.2', '8.8.4.4']

t.test('public peers are dialled, whoever names them', async (t) => {
  for (const source of [...strangers, ...near]) {
    for (const address of ['8.8.8.8:6881', '1.1.1.1:1024', '9.9.9.9:65535', '[2606:4700::1]:6881', '[::ffff:8.8.8.8]:6881']) t.equal(mayDial(address, source, own), true, `${address} from ${source}`)
  }
})

t.test('nobody gets a privileged port, a link-local, multicast or reserved address, or nonsense dialled', async (t) => {
  for (const source of [...strangers, ...near]) {
    for (const address of [
      '8.8.8.8:0', '8.8.8.8:22', '8.8.8.8:80', '8.8.8.8:443', '8.8.8.8:1023', '8.8.8.8:65536', '8.8.8.8:-1', '8.8.8.8:6881x', '8.8.8.8', ':6881', '',
      '169.254.169.254:6881', '224.0.0.1:6881', '239.192.152.143:6771', '255.255.255.255:6881', '0.0.0.0:6881', '[fe80::1]:6881', '[ff02::1]:6881', '[::]:6881', '[2001:db8::1]:6881',
      'localhost:6881', 'example.org:6881', '0x7f.1:6881', '2130706433:6881', '2606:4700::1:6881', '192.168.1.1:22', '127.0.0.1:22'
    ]) t.equal(mayDial(address, source, own), false, `${address} from ${source}`)
  }
})

t.test('private networks: only for who lives in them', async (t) => {
  for (const address of ['10.0.0.1:6881', '172.16.5.5:6881', '192.168.1.1:51413', '192.168.1.2:6881', '100.64.0.1:6881', '[fd12:3456::1]:6881', '[::ffff:192.168.1.1]:6881', '[64:ff9b::10.0.0.1]:6881']) {
    for (const source of strangers) t.equal(mayDial(address, source, own), false, `${address} from ${source}`)
    for (const source of near) t.equal(mayDial(address, source, own), true, `${address} from ${source}`)
  }
})

t.test('this machine: only for a tracker of the operator that runs on it', async (t) => {
  for (const address of ['127.0.0.1:6379', '127.8.8.8:6881', '[::1]:6881', '[::ffff:127.0.0.1]:6881', '[2002:7f00:1::]:6881']) {
    for (const source of [...strangers, 'lsd', 'private-tracker']) t.equal(mayDial(address, source, own), false, `${address} from ${source}`)
    t.equal(mayDial(address, 'loopback-tracker', own), true, address)
  }
  for (const source of strangers) t.equal(mayDial('8.8.4.4:6881', source, own), false, `our public address from ${source}`)
  t.equal(mayDial('127.0.0.1:6881', 'tracker'), false)
})

t.test('what the operator configured is dialled as it is', async (t) => {
  for (const address of ['127.0.0.1:80', 'seed.lan:6881', '192.168.1.1:51413']) t.equal(mayDial(address, 'operator', own), true, address)
})

t.test('with HTTP_ALLOW_PRIVATE_NETWORKS any machine may be named, privileged ports may not', async (t) => {
  for (const source of strangers) {
    for (const address of ['127.0.0.1:6881', '10.0.0.1:6881', '[::1]:6881', '8.8.8.8:6881']) t.equal(mayDialAnywhere(address, source), true, address)
    for (const address of ['127.0.0.1:22', '8.8.8.8:80', '224.0.0.1:6881', '169.254.169.254:6881', 'localhost:6881']) t.equal(mayDialAnywhere(address, source), false, address)
  }
})
