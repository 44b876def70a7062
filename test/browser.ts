import { mkdir } from 'node:fs/promises'
import { createServer, request } from 'node:http'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import type { Test } from 'tap'
import { listenOnLoopback } from './loopback.ts'
import { missing, until } from './testnet.ts'

/** Where pictures of the page are kept, to be looked at. */
const pictures = join(import.meta.dirname, '..', '.tap', 'pictures')

export interface TestPage {
  readonly page: Page
  /** What the page did that it must not: errors, and requests to other origins. */
  readonly complaints: readonly string[]
}

/** To start one takes a second: a test has one for all its pages. */
const browsers = new WeakMap<Test, Promise<Browser>>()

/** Chromium (Debian: chromium) with this page open. Answers every question of the page with yes. */
export async function openPage (t: Test, url: string, options: BrowserContextOptions = {}): Promise<TestPage> {
  const executablePath = process.env['CHROMIUM'] ?? '/usr/bin/chromium'
  if (!existsSync(executablePath)) throw missing('chromium')
  const launched = browsers.get(t) ?? chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--autoplay-policy=no-user-gesture-required']
  })
  const browser = await launched
  if (!browsers.has(t)) t.teardown(async () => { await browser.close() })
  browsers.set(t, launched)
  const page = await browser.newPage({ locale: 'en-US', viewport: { width: 1000, height: 800 }, ...options })
  const complaints: string[] = []
  const { origin } = new URL(url)
  page.on('pageerror', (error) => { complaints.push(error.message) })
  page.on('console', (message) => {
    // What the server refuses, the browser logs; the page tells people.
    if (message.type() === 'error' && !/status of 4\d\d/.test(message.text())) complaints.push(message.text())
  })
  page.on('request', (request) => { if (!/^(blob|data):/.test(request.url()) && new URL(request.url()).origin !== origin) complaints.push(`request to ${request.url()}`) })
  page.on('dialog', (dialog) => { dialog.accept().catch(() => {}) })
  page.setDefaultTimeout(30_000)
  await page.goto(url)
  return { page, complaints }
}

/** Keeps a picture of the whole page. */
export async function takePicture (page: Page, name: string): Promise<void> {
  await mkdir(pictures, { recursive: true })
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true })
}

/** Waits until the expression is true in the page. Playwright's own way needs eval, which the page forbids. */
export async function becomesTrue (page: Page, expression: string): Promise<void> {
  await until(expression, async () => await page.evaluate(expression) === true)
}

/** Resolves when the video has come past this second. */
export async function hasPlayed (page: Page, seconds: number): Promise<void> {
  await becomesTrue(page, `(({ seeking, currentTime }) => !seeking && currentTime > ${seconds})(document.querySelector('video'))`)
}

/** A reverse proxy that shows a server under `/prefix/`, of which the server knows nothing. Returns the page's address. */
export async function startPrefixProxy (t: Test, target: string): Promise<string> {
  const proxy = createServer((incoming, outgoing) => {
    const path = incoming.url?.startsWith('/prefix/') === true ? incoming.url.slice('/prefix'.length) : null
    if (path === null) {
      outgoing.writeHead(404).end('outside of the prefix')
      return
    }
    const onward = request(new URL(path, target), { method: incoming.method, headers: incoming.headers }, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(outgoing)
    })
    onward.on('error', () => { outgoing.destroy() })
    outgoing.on('close', () => { onward.destroy() })
    incoming.pipe(onward)
  })
  t.teardown(() => { proxy.closeAllConnections() })
  return `${await listenOnLoopback(t, proxy)}/prefix/`
}
