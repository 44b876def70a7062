import t from 'tap'
import { loginLink } from '../../../services/access/login-link.ts'

t.test('the link leads where people reach the server, and only the browser gets the token', async (t) => {
  const home = { BASE_URL: null, HOST: '0.0.0.0', isPanel: false }
  for (const [config, panelAddress, link] of [
    [home, undefined, 'http://localhost:11470/login#token=T'],
    [home, '203.0.113.7', 'http://localhost:11470/login#token=T'],
    [{ ...home, HOST: '192.168.1.5' }, undefined, 'http://192.168.1.5:11470/login#token=T'],
    [{ ...home, HOST: '::' }, undefined, 'http://localhost:11470/login#token=T'],
    [{ ...home, HOST: 'fd00::5' }, undefined, 'http://[fd00::5]:11470/login#token=T'],
    [{ ...home, isPanel: true }, '203.0.113.7', 'http://203.0.113.7:11470/login#token=T'],
    [{ ...home, isPanel: true }, '0.0.0.0', 'http://localhost:11470/login#token=T'],
    [{ ...home, BASE_URL: 'https://films.example/here/' }, undefined, 'https://films.example/here/login#token=T']
  ] as const) t.equal(loginLink('T', config, 11470, panelAddress), link)
})
