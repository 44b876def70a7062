import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import t from 'tap'
import { openPage, startPrefixProxy, takePicture } from '../browser.ts'
import { jsonFrom, startApp } from '../helper.ts'
import { testWith } from '../testnet.ts'
import { startUpstream } from '../upstream-addon.ts'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'

const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** axe-core finds no violation on the page as it is now, and nothing is wider than the page. */
async function checkPage (t: Test, page: Page, name: string): Promise<void> {
  await page.evaluate(await axe)
  const violations: Array<{ id: string, nodes: Array<{ html: string }> }> = await page.evaluate('axe.run().then(({ violations }) => violations)')
  t.same(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`), [], `${name}: nothing that axe minds`)
  t.notOk(await page.evaluate('document.documentElement.scrollWidth > document.documentElement.clientWidth'), `${name}: nothing sticks out`)
}

testWith(t, 'people: the addon is configured with the keyboard alone on a phone, and its address works', async (t) => {
  const other = await startUpstream(t, { streams: [{ name: 'Other', infoHash: 'e'.repeat(40) }] })
  const noAddon = await startUpstream(t, { manifest: { hello: 'world' } })
  const { url } = await startApp(t)
  const { page, complaints } = await openPage(t, `${url}/configure`, { viewport: { width: 360, height: 740 } })
  await checkPage(t, page, 'empty')

  // Until the field has the focus: what comes before it is not this test's business.
  const tabTo = async (selector: string): Promise<void> => {
    for (let i = 0; i < 20; i++) {
      if (await page.evaluate(`document.activeElement?.matches(${JSON.stringify(selector)}) === true`) === true) return
      await page.keyboard.press('Tab')
    }
    throw new Error(`no way to ${selector} by keyboard`)
  }
  await tabTo('#upstreams')
  await page.keyboard.type('nonsense')
  await tabTo('#configure .primary')
  await page.keyboard.press('Enter')
  await page.getByText('is no address of a manifest').waitFor()
  t.equal(await page.locator('#upstreams').inputValue(), 'nonsense', 'and stays there to be corrected')

  await page.locator('#upstreams').focus()
  await page.keyboard.press('Control+A')
  await page.keyboard.type(noAddon.url)
  await tabTo('#configure .primary')
  await page.keyboard.press('Enter')
  await page.getByText('no manifest of a Stremio addon').waitFor()
  await checkPage(t, page, 'refused')
  await takePicture(page, 'configure-refused')
  t.equal(await page.locator('#made').isVisible(), false)

  await page.locator('#upstreams').focus()
  await page.keyboard.press('Control+A')
  await page.keyboard.type(`${other.url}\nhttp://127.0.0.1:9/manifest.json`)
  await tabTo('#configure .primary')
  await page.keyboard.press('Enter')
  await page.locator('#made').waitFor()
  t.same((await page.locator('#addons li').allTextContents()).map((text) => text.slice(0, 40)), ['Other', 'http://127.0.0.1:9/manifest.json cannot '])
  t.equal(await page.evaluate('document.activeElement.id'), 'made-title', 'the focus goes where the address is')
  await checkPage(t, page, 'made')
  await takePicture(page, 'configure-made')

  const address = await page.locator('#manifest-url').textContent() ?? ''
  t.equal(await page.locator('#install').getAttribute('href'), address.replace('http:', 'stremio:'))
  t.equal(await page.locator('#web').getAttribute('href'), `https://web.stremio.com/#/addons?addon=${encodeURIComponent(address)}`)
  t.match((await jsonFrom(address)).body, { name: 'Self-Streme', resources: ['catalog', {}, { idPrefixes: undefined }, {}] })
  const { body } = await jsonFrom(address.replace('manifest.json', 'stream/movie/tt1254207.json'))
  t.match(body.streams, [{ name: /Other/ }])

  // What is installed leads back here, with its settings.
  await page.goto(address.replace('manifest.json', 'configure'))
  await page.getByText('cannot be read now').waitFor()
  t.equal(await page.locator('#upstreams').inputValue(), `${other.url}\nhttp://127.0.0.1:9/manifest.json`)
  t.notMatch(await page.evaluate('document.referrer'), /\/t\//)
  t.same(complaints, [])
})

testWith(t, 'people: a proxy that the server was not told of is warned of on the page, and only then', async (t) => {
  const { url } = await startApp(t)
  const { page } = await openPage(t, `${url}/configure`)
  await page.waitForLoadState('networkidle')
  t.equal(await page.locator('#proxy').isVisible(), false)
  await page.setExtraHTTPHeaders({ 'X-Forwarded-Proto': 'https' })
  await page.reload()
  await page.getByText('A proxy stands before this server').waitFor()
  await checkPage(t, page, 'behind a proxy')
})

testWith(t, 'people: who is not the owner is led to the login; behind a path the page finds its parts; in Hebrew it is the other way round', async (t) => {
  const { url } = await startApp(t, { API_TOKEN: 'a-token-of-some-length' })
  const { page, complaints } = await openPage(t, `${await startPrefixProxy(t, url)}configure`, { locale: 'he-IL', viewport: { width: 360, height: 740 } })
  t.equal(await page.evaluate('document.dir'), 'rtl')
  await page.locator('#configure .primary').click()
  await page.locator('#login').waitFor()
  t.match(await page.evaluate('document.getElementById("login").href'), /\/prefix\/login$/)
  t.ok(await page.locator('#message').textContent())
  await checkPage(t, page, 'hebrew')
  t.same(complaints, [])
})
