import t from 'tap'
import { formatBytes, withoutSecrets } from '../../services/format.ts'

t.test('sizes read as people write them', async (t) => {
  const table: Array<[number, string]> = [
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1024, '1 KB'],
    [1536, '1.5 KB'],
    [15_234, '15 KB'],
    [367 * 1024 ** 2, '367 MB'],
    [230 * 1024 ** 2, '230 MB'],
    [2.5 * 1024 ** 2, '2.5 MB'],
    [1024 ** 2 - 1, '1 MB'],
    [1024 ** 3 - 1, '1 GB'],
    [1.5 * 1024 ** 3, '1.5 GB'],
    [40.25 * 1024 ** 3, '40.3 GB'],
    [3 * 1024 ** 4, '3 TB'],
    [5000 * 1024 ** 4, '5000 TB']
  ]
  for (const [bytes, text] of table) t.equal(formatBytes(bytes), text)
})

t.test('a URL in the log shows no password, token or secret path', async (t) => {
  t.equal(withoutSecrets(new URL('https://user:pass@mirror.example:8443/a/b.mkv?token=s3cret&index=1#x')), 'https://mirror.example:8443/a/b.mkv?token=…&index=…')
  t.equal(withoutSecrets(new URL('http://other.example/t/s3cret/stream/proxy/aa')), 'http://other.example/t/…/stream/proxy/aa')
  t.equal(withoutSecrets(new URL('http://plain.example/x%20y.mp4')), 'http://plain.example/x%20y.mp4')
})
