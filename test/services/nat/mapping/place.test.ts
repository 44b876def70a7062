import t from 'tap'
import { defaultGateway, findPlace } from '../../../../services/nat/mapping/place.ts'

const head = 'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n'

t.test('the default gateway is read from the routing table', async (t) => {
  t.equal(defaultGateway(`${head}eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\neth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n`), '192.168.1.1')
  t.equal(defaultGateway(`${head}wlan0\t00000000\t0100000A\t0003\t0\t0\t600\t00000000\t0\t0\t0\neth0\t00000000\t0102000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n`), '10.0.2.1', 'the one with the least metric')
  t.equal(defaultGateway(`${head}tun0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n`), null, 'a tunnel has none')
  t.equal(defaultGateway(`${head}tun0\t00000000\t0102000A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n`), null, 'nor has half the internet')
  for (const text of ['', head, 'nonsense', `${head}eth0\t00000000\tx\t0003\t0\t0\t0\t00000000`]) t.equal(defaultGateway(text), null)
})

t.test('this machine has a place, or none, and says so at once', async (t) => {
  const place = await findPlace()
  if (place !== null) t.match(place, { gateway: /^\d+(\.\d+){3}$/, local: /^\d+(\.\d+){3}$/ })
  t.pass(JSON.stringify(place))
})
