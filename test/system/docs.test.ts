import { existsSync } from 'node:fs'
import { chromium } from 'playwright-core'
import t from 'tap'
import { startPrefixProxy } from '../browser.ts'
import { startApp } from '../helper.ts'

const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
const skip = existsSync(executablePath) || process.env['SELF_STREME_SKIP_MISSING'] !== '1' ? false : 'missing: Chromium (Debian: chromium)'

t.test('the description of the API opens in a browser, asks no other origin, and runs an example, behind a path prefix too', { skip, timeout: 60_000 }, async (t) => {
  const url = await startPrefixProxy(t, (await startApp(t)).url)
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] })
  t.teardown(async () => { await browser.close() })
  const page = await browser.newPage()
  const trouble: string[] = []
  page.on('console', (message) => { if (message.type() === 'error') trouble.push(message.text()) })
  page.on('pageerror', (error) => { trouble.push(error.message) })
  page.on('request', (request) => { if (!/^(?:data|blob):/.test(request.url()) && !request.url().startsWith(url)) trouble.push(request.url()) })
  const response = await page.goto(`${url}docs`)
  t.match(response?.headers()['content-security-policy'], /default-src 'none'/)
  const operation = page.locator('#operations-server-get_health')
  await operation.locator('button').first().click()
  await operation.getByRole('button', { name: 'Execute' }).click()
  await operation.locator('.live-responses-table .response-col_status').filter({ hasText: '200' }).first().waitFor()
  t.match(await operation.locator('.request-url').textContent(), `${url}health`)
  t.same(trouble, [])
})
