import t from 'tap'
import { clientKey, isNearClient } from '../../../services/access/near-client.ts'

t.test('this machine and private networks are near, everybody else is not', async (t) => {
  for (const address of ['127.0.0.1', '127.8.9.1', '::1', '10.0.0.1', '172.16.0.1', '172.31.255.254', '192.168.1.7', '169.254.3.4', 'fd00::7', 'fe80::1', 'fe80::1%eth0', '::ffff:192.168.1.7', '::ffff:127.0.0.1']) t.ok(isNearClient(address, {}), address)
  for (const address of ['8.8.8.8', '172.32.0.1', '192.169.0.1', '100.64.0.1', '2001:db8::1', '2a00:1450::1', '::ffff:8.8.8.8', '0.0.0.0', '::', 'ff02::1', '', 'localhost']) t.notOk(isNearClient(address, {}), address)
  t.notOk(isNearClient(undefined, {}), 'a client that has gone')
})

t.test('behind a proxy nobody is near', async (t) => {
  for (const name of ['forwarded', 'x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host', 'x-forwarded-anything', 'via', 'cf-ray', 'cf-connecting-ip', 'x-real-ip']) t.notOk(isNearClient('127.0.0.1', { [name]: '' }), name)
  for (const name of ['user-agent', 'x-forward', 'x-requested-with', 'cfg', 'viable', 'range']) t.ok(isNearClient('127.0.0.1', { [name]: 'x' }), name)
})

t.test('clients are counted by address, those of IPv6 by their network', async (t) => {
  for (const [address, key] of [
    ['1.2.3.4', '1.2.3.4'],
    ['::ffff:1.2.3.4', '1.2.3.4'],
    ['::FFFF:0102:304', '1.2.3.4'],
    ['1.2.3.4:5678', '1.2.3.4'],
    ['[2001:db8:1:2::9]:5678', '2001:db8:1:2'],
    ['[::ffff:1.2.3.4]', '1.2.3.4'],
    ['unknown', 'unknown'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2'],
    ['2001:0db8:1:2::9', '2001:db8:1:2'],
    ['2001:db8::9', '2001:db8:0:0'],
    ['::1', '0:0:0:0'],
    ['fe80::1%eth0', 'fe80:0:0:0']
  ] as const) t.equal(clientKey(address), key, address)
})
