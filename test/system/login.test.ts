import t from 'tap'
import { loginLink } from '../../services/access/login-link.ts'
import { openPage } from '../browser.ts'
import { startApp } from '../helper.ts'
import { testWith } from '../testnet.ts'

const token = 'a-token-of-the-owner-0123456789'

testWith(t, 'people: the login link logs in, leaves no token behind, and one can log out', async (t) => {
  const { url, app } = await startApp(t, { API_TOKEN: token })
  const asked: string[] = []
  app.server.on('request', ({ url, headers }) => { asked.push(`${url} ${JSON.stringify(headers)}`) })
  const { page } = await openPage(t, url)
  await page.getByRole('link', { name: 'Log in' }).waitFor()
  t.match(await page.getByRole('status').textContent(), /owner/, 'the list is not for strangers')

  await page.goto(loginLink(token, { ...app.config, BASE_URL: url }, 0))
  await page.getByRole('button', { name: 'Log out' }).waitFor()
  t.equal(new URL(page.url()).pathname, '/')
  t.notMatch(page.url(), token)
  await page.getByRole('link', { name: 'Log in' }).waitFor({ state: 'hidden' })
  t.notOk(asked.some((line) => line.includes(token)), 'no address and no Referer had it')
  t.notMatch(String(await page.evaluate('document.cookie + JSON.stringify(localStorage)')), /session|token/, 'no script can read the login')

  await page.getByRole('button', { name: 'Log out' }).click()
  await page.getByRole('link', { name: 'Log in' }).click()
  await page.getByLabel('token').fill('wrong')
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByText('This is not the token').waitFor()
  await page.getByLabel('token').fill(token)
  await page.getByRole('button', { name: 'Log in' }).click()
  await page.getByRole('button', { name: 'Log out' }).waitFor()
})
