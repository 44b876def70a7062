import t from 'tap'
import { Speed } from '../../../services/download/speed.ts'

t.test('the speed is that of the last seconds', async (t) => {
  let now = 1000
  const speed = new Speed(() => now)
  t.equal(speed.bytesPerSecond, 0)
  for (let i = 0; i < 100; i++) {
    now += 100
    speed.add(100_000)
  }
  t.ok(Math.abs(speed.bytesPerSecond - 1_000_000) < 50_000, String(speed.bytesPerSecond))
  now += 2000
  t.ok(speed.bytesPerSecond > 400_000 && speed.bytesPerSecond < 700_000, String(speed.bytesPerSecond))
  now += 4000
  t.equal(speed.bytesPerSecond, 0)
  now += 1_000_000
  speed.add(5_000)
  t.ok(speed.bytesPerSecond > 0 && speed.bytesPerSecond <= 5_000)
})
