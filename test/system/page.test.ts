import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { promisify } from 'node:util'
import t from 'tap'
import type { Page } from 'playwright-core'
import type { Test } from 'tap'
import { becomesTrue, hasPlayed, openPage, startPrefixProxy, takePicture } from '../browser.ts'
import { startApp } from '../helper.ts'
import { startSwitchableMirror } from '../switchable-mirror.ts'
import { makeTorrent, startSeeder, startTracker, temporaryDirectory, testBytes, testWith } from '../testnet.ts'

const run = promisify(execFile)
const mock = join(import.meta.dirname, '..', '..', 'assets', 'mock.mp4')
const mockHash = '39730aa7c09b864432bc8c878c20c933059241fd'
const unheard = 'a1'.repeat(20)
const subtitles = '1\n00:00:00,000 --> 00:02:20,000\nשלום, world\n'
const axe = readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** The test picture, six times over: 144 s, 12 MB. */
async function longFilm (t: Test): Promise<Buffer> {
  const path = join(await temporaryDirectory(t), 'film.mp4')
  await run('ffmpeg', ['-v', 'error', '-stream_loop', '5', '-i', mock, '-map', '0:v', '-map', '0:a', '-c', 'copy', '-movflags', '+faststart', path])
  return await readFile(path)
}

async function add (page: Page, link: string): Promise<void> {
  await page.getByLabel('Magnet link or infohash').fill(link)
  await page.getByRole('button', { name: 'Add Torrent', exact: true }).click()
}

/** Rules of accessibility that the page breaks, serious ones. */
async function broken (page: Page): Promise<string[]> {
  await page.evaluate(await axe)
  const violations: Array<{ id: string, impact: string, nodes: Array<{ html: string }> }> = await page.evaluate('axe.run().then(({ violations }) => violations)')
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical').map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`)
}

testWith(t, 'people: a magnet is pasted, the film arrives, plays, seeks, goes on from a mirror when the seeder dies, and is deleted', async (t) => {
  const tracker = await startTracker(t)
  const film = await longFilm(t)
  const torrent = await makeTorrent({ 'Film.mp4': film, 'Film.he.srt': Buffer.from(subtitles) }, { name: 'A film', pieceLength: 65_536, trackers: [tracker.url] })
  const seeder = await startSeeder(t, torrent, { uploadLimit: 250_000 })
  const mirror = await startSwitchableMirror(t, torrent, { bytesPerSecond: 400_000 })
  const { url } = await startApp(t, { ENABLE_P2P: 'true', HTTP_MIRROR_URLS: mirror.mirrorUrl, SOURCE_HEDGE_DELAY: '15000', STALL_TIMEOUT: '1500' })
  const { page, complaints } = await openPage(t, url)
  const video = page.locator('video')

  await add(page, `magnet:?xt=urn:btih:${torrent.infohash}&dn=Film&tr=${encodeURIComponent(tracker.url)}`)
  await page.getByRole('heading', { name: 'A film', exact: true }).waitFor()
  await becomesTrue(page, 'document.querySelector("progress").value > 0.01')
  const before: unknown = await page.evaluate('document.querySelector("progress").value')
  await becomesTrue(page, `document.querySelector("progress").value > ${String(before)}`)
  t.pass('progress moves')

  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await hasPlayed(page, 1)
  await page.getByText('Playing from the swarm').waitFor()
  await page.getByText('Files: 2').click()
  await page.getByRole('img', { name: /Pieces: \d+ of \d+ here/ }).waitFor()

  await becomesTrue(page, 'document.querySelectorAll("track").length === 1')
  await page.evaluate('document.querySelector("video").textTracks[0].mode = "showing"')
  await becomesTrue(page, 'document.querySelector("video").textTracks[0].activeCues?.length === 1')
  const shown = await page.evaluate('(({ label, language, activeCues: [{ text }] }) => ({ label, language, text }))(document.querySelector("video").textTracks[0])')
  t.same(shown, { label: 'Hebrew', language: 'he', text: 'שלום, world' }, 'subtitles are shown')

  await seeder.stop()
  await hasPlayed(page, Number(await page.evaluate('document.querySelector("video").currentTime')) + 1)
  t.pass('it plays on')

  await video.scrollIntoViewIfNeeded()
  await video.hover()
  const box = await video.boundingBox()
  if (box === null) throw new Error('no video')
  await page.mouse.click(box.x + box.width * 0.7, box.y + box.height - 20)
  await hasPlayed(page, 80)
  t.pass('it seeks where the bar is clicked')
  // What the swarm had brought before plays as the swarm's.
  await page.getByText('Playing from HTTP').waitFor()

  for (const part of ['#player', '.card']) {
    await page.locator(part).getByText('What happened').click()
    await page.locator(part).getByText('HTTP delivers').first().waitFor()
  }
  await takePicture(page, 'playing')
  await page.getByRole('button', { name: 'Delete', exact: true }).click()
  await page.getByText('None yet.').waitFor()
  t.equal(await video.isVisible(), false)
  t.same(complaints, [])
})

testWith(t, 'the mock plays with no network, behind a path prefix, without a word to anybody else', async (t) => {
  const { url } = await startApp(t)
  const { page, complaints } = await openPage(t, await startPrefixProxy(t, url))
  await page.getByRole('button', { name: 'Mock: plays without a network' }).click()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await hasPlayed(page, 0.5)
  await page.getByText('Playing from the test picture').waitFor()
  await page.getByText('Open in another player').click()
  t.match(await page.getByRole('link', { name: 'VLC' }).getAttribute('href'), `/prefix/stream/proxy/${mockHash}`)
  t.match(await page.locator('#m3u').getAttribute('href'), `/prefix/stream/proxy/${mockHash}/playlist.m3u`)
  t.same(complaints, [])
})

testWith(t, 'a .torrent is chosen, or dropped on the page; what is none says so', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': testBytes(200_000, 'dropped') }, { name: 'Given' })
  const other = await makeTorrent({ 'Other.mp4': testBytes(200_000, 'other') })
  const { url } = await startApp(t)
  const { page, complaints } = await openPage(t, url)
  await page.locator('#torrent-file').setInputFiles({ name: 'given.torrent', mimeType: 'application/x-bittorrent', buffer: torrent.torrent })
  await page.getByRole('heading', { name: 'Given', exact: true }).waitFor()
  await page.locator('#torrent-file').setInputFiles({ name: 'page.torrent', mimeType: 'application/x-bittorrent', buffer: Buffer.from('<html>') })
  await page.getByText('is no .torrent file').waitFor()
  await page.evaluate(`{
    const dataTransfer = new DataTransfer()
    dataTransfer.items.add(new File([new Uint8Array(${JSON.stringify([...other.torrent])})], 'other.torrent'))
    document.body.dispatchEvent(new DragEvent('drop', { dataTransfer, bubbles: true, cancelable: true }))
  }`)
  await page.getByRole('heading', { name: 'Other.mp4', exact: true }).waitFor()
  await add(page, 'rubbish')
  await page.getByText('is not an infohash').waitFor()
  t.equal(await page.getByLabel('Magnet link or infohash').inputValue(), 'rubbish', 'and stays there to be corrected')
  t.same(complaints, [])
})

testWith(t, 'what cannot be played says why, and where it can', async (t) => {
  const torrent = await makeTorrent({ 'Film.avi': testBytes(300_000, 'avi') })
  const mirror = await startSwitchableMirror(t, torrent)
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl, START_TIMEOUT: '3000' })
  const { page, complaints } = await openPage(t, url)
  await add(page, torrent.infohash)
  await page.getByText('Complete').waitFor()
  await page.getByRole('button', { name: 'Play', exact: true }).click()
  await page.getByText(/cannot play \W*AVI/).waitFor()
  await page.getByRole('link', { name: 'VLC' }).waitFor()
  await page.context().grantPermissions(['clipboard-write'])
  await page.getByRole('button', { name: 'Copy the link' }).click()
  await page.getByRole('button', { name: 'Copied.' }).waitFor()
  t.match(await page.locator('#trouble').textContent(), /cannot play/, 'and goes on saying so')

  await add(page, unheard)
  await page.locator('.card', { hasText: unheard }).getByRole('button', { name: 'Play', exact: true }).click()
  await page.getByText('Unable to stream this content.').waitFor()

  let seconds = 0
  await page.route('**/stream/status/**', async (route) => { await route.fulfill({ json: { state: 'starting', reason: `for ${seconds++} s`, responses: [], lastResponse: null } }) })
  await becomesTrue(page, '(({ ariaLive, textContent }) => ariaLive === "off" && textContent.startsWith("Starting: "))(document.getElementById("now"))')
  t.pass('seconds that pass are not read out')
  t.same(complaints, [])
})

testWith(t, 'a film of which the browser plays the sound only, or the picture only, says so', async (t) => {
  const { url, directory } = await startApp(t)
  const films = [{ infoHash: 'b1'.repeat(20), video: ['mpeg4'], audio: 'aac', says: 'No picture: ' }, { infoHash: 'b2'.repeat(20), video: ['libx264', '-preset', 'ultrafast'], audio: 'ac3', says: 'No sound: ' }]
  for (const { infoHash, video, audio } of films) {
    const codecs = ['-c:v', ...video, '-b:v', '4M', '-minrate', '4M', '-maxrate', '4M', '-bufsize', '1M', '-pix_fmt', 'yuv420p', '-c:a', audio]
    await run('ffmpeg', ['-v', 'error', '-f', 'lavfi', '-i', 'testsrc=size=320x180:rate=10', '-f', 'lavfi', '-i', 'sine', '-t', '3', '-vf', 'noise=alls=99:allf=t', ...codecs, join(directory, `${infoHash}-film.mp4`)])
    await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash }) })
  }
  const { page, complaints } = await openPage(t, url)
  for (const { infoHash, says } of films) {
    await page.locator('.card', { hasText: infoHash }).locator('.play').click()
    await page.getByText(says).waitFor()
  }
  t.same(complaints, [])
})

testWith(t, 'what takes the server away for a while is over when it is back', async (t) => {
  const film = await longFilm(t)
  const { url, directory } = await startApp(t)
  const infoHash = 'b3'.repeat(20)
  await writeFile(join(directory, `${infoHash}-film.mp4`), film)
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash }) })
  const { page } = await openPage(t, 'about:blank')
  await page.route('**/api/torrents?*', async (route) => { await route.fulfill({ status: 502, body: 'a proxy' }) }, { times: 1 })
  await page.goto(url)
  await page.locator('.card .play').click()
  t.equal(await page.locator('#message').textContent(), '', 'the list that failed was asked for again')
  await hasPlayed(page, 0.3)

  await page.route('**/stream/**', async (route) => { await route.fulfill({ status: 502, body: 'a proxy' }) })
  await page.evaluate('document.querySelector("video").currentTime = 100')
  await page.locator('#player').getByText('The server does not answer.').first().waitFor()
  await page.unroute('**/stream/**')
  await hasPlayed(page, 100)
  t.equal(await page.locator('#trouble').textContent(), '')
})

testWith(t, 'a list that comes late does not undo what was told since', async (t) => {
  const { url } = await startApp(t)
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: unheard }) })
  const { page, complaints } = await openPage(t, url)
  await page.locator('.card').waitFor()
  await page.route('**/api/torrents?*', async (route) => {
    const response = await route.fetch()
    await fetch(`${url}/api/torrents/${unheard}`, { method: 'DELETE' })
    await page.locator('.card').waitFor({ state: 'detached' })
    await route.fulfill({ response })
  })
  await page.evaluate("import('./assets/torrents.js').then(({ load }) => load())")
  t.equal(await page.locator('.card').count(), 0)
  const rows = await page.evaluate(`import('./assets/timeline.js').then(({ remember, show }) => {
    const list = document.createElement('ol')
    for (let i = 0; i < 1000; i++) remember('start', { infoHash: 't' + i, at: new Date().toISOString() })
    return ['t0', 't999'].map((infoHash) => { show(list, infoHash); return list.childElementCount })
  })`)
  t.same(rows, [0, 1], 'nor is everything kept that was ever told')
  t.same(complaints, [])
})

testWith(t, 'a seventh tab works: one that nobody looks at gives its connection back, and catches up', async (t) => {
  const { url } = await startApp(t)
  const { page: other } = await openPage(t, url)
  const context = await other.context().browser()?.newContext({ locale: 'en-US' })
  const look = (isHidden: boolean): string => `Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`
  const pages = []
  for (let i = 0; i < 7; i++) {
    const page = await context?.newPage()
    if (page === undefined) throw new Error('no page')
    await page.goto(url)
    await page.getByText('None yet.').waitFor()
    await page.evaluate(look(true))
    pages.push(page)
  }
  await add(other, unheard)
  await pages[0]?.evaluate(look(false))
  await pages[0]?.locator('.card').waitFor()
})

testWith(t, 'subtitles come, however long the list of files takes', async (t) => {
  const torrent = await makeTorrent({ 'Film.mp4': await readFile(mock), 'Film.he.srt': Buffer.from(subtitles) }, { name: 'Late' })
  const mirror = await startSwitchableMirror(t, torrent)
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl })
  const { page } = await openPage(t, 'about:blank')
  // A second of the page is a twentieth.
  await page.addInitScript('{ const timeout = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => timeout(ms / 20) }')
  await page.route('**/subtitles*', async (route) => {
    await pause(1500)
    await route.continue().catch(() => {})
  })
  await page.goto(url)
  await add(page, torrent.infohash)
  await page.locator('.card .play').click()
  await becomesTrue(page, 'document.querySelectorAll("track").length === 1')
})

const hostile = [
  '<img src=x onerror=document.title="broken">', '"\'><script>document.title="broken"</script>', '\u202egpj.exe',
  'javascript:document.title="broken"', `${'long '.repeat(790)}end`
]

testWith(t, 'names are text, whatever is in them', async (t) => {
  const { url } = await startApp(t)
  for (const [i, name] of hostile.entries()) {
    const files = Object.fromEntries([`${name.slice(0, 200).replaceAll('/', '_')}.mp4`, `b${i}.srt`].map((path, n) => [path, testBytes(1000 + n, name)]))
    const { torrent } = await makeTorrent(files, { name: name.replaceAll('/', '_') })
    await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/x-bittorrent' }, body: new Uint8Array(torrent) })
  }
  // A magnet's name has no limit but that of the whole link.
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ magnetUri: `magnet:?xt=urn:btih:${unheard}&dn=${encodeURIComponent(`<b>${'names '.repeat(1700)}`)}` }) })
  const { page, complaints } = await openPage(t, url, { viewport: { width: 390, height: 844 } })
  await page.locator('.card').nth(hostile.length).waitFor()
  for (const summary of await page.locator('.card summary:visible').all()) await summary.click()
  await page.getByText('Cache', { exact: true }).click()
  await page.locator('.files li').nth(hostile.length).waitFor()
  await page.locator('.card .play').first().click()
  t.equal(await page.title(), 'Self-Streme')
  t.equal(await page.locator('main img, main script').count(), 0)
  t.equal(await page.evaluate('document.documentElement.scrollWidth <= document.documentElement.clientWidth'), true, 'nothing sticks out on a phone')
  await takePicture(page, 'hostile-names')
  t.same(complaints, [])
})

const looks = [
  { name: 'light', options: { colorScheme: 'light' } },
  { name: 'dark', options: { colorScheme: 'dark' } },
  { name: 'phone', options: { viewport: { width: 360, height: 740 }, hasTouch: true } },
  { name: 'television', options: { viewport: { width: 1920, height: 1080 } } },
  { name: 'hebrew', options: { locale: 'he-IL' } }
] as const

testWith(t, 'everybody can use it: in every look no serious violation of the rules of accessibility', async (t) => {
  const torrent = await makeTorrent({ 'Season 1/Show.S01E01.mp4': await readFile(mock), 'Season 1/Show.S01E01.en.srt': Buffer.from(subtitles), 'Read me.txt': Buffer.from('text') }, { name: 'A show' })
  const mirror = await startSwitchableMirror(t, torrent)
  const { url } = await startApp(t, { HTTP_MIRROR_URLS: mirror.mirrorUrl, TORRENT_METADATA_URLS: mirror.metadataUrl })
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash: torrent.infohash }) })
  for (const { name, options } of looks) {
    const { page, complaints } = await openPage(t, url, options)
    await page.locator('.card .play').click()
    await hasPlayed(page, 0.2)
    for (const summary of await page.locator('summary').all()) await summary.click()
    await page.locator('#network-facts dt').first().waitFor()
    await page.locator('#cache-entries li').first().waitFor()
    t.same(await broken(page), [], `${name}: nothing serious`)
    t.equal(await page.evaluate('document.documentElement.scrollWidth <= document.documentElement.clientWidth'), true, `${name}: nothing sticks out`)
    await takePicture(page, name)
    t.same(complaints, [], `${name}: no error, nothing foreign`)
    await page.close()
  }
})

testWith(t, 'people: from right to left, by keyboard', async (t) => {
  const { url } = await startApp(t)
  const { page, complaints } = await openPage(t, url)
  await page.getByLabel('Language').selectOption('he')
  t.equal(await page.locator('html').getAttribute('dir'), 'rtl')
  await page.reload()
  t.equal(await page.locator('html').getAttribute('lang'), 'he', 'the choice stays')
  await page.locator('#magnet').focus()
  await page.keyboard.type(mockHash)
  await page.keyboard.press('Enter')
  const play = page.getByRole('button', { name: 'נגן', exact: true })
  await play.waitFor()
  await play.focus()
  await page.keyboard.press('Enter')
  await hasPlayed(page, 0.3)
  t.equal(await page.evaluate('document.activeElement.id'), 'playing', 'the player is where the keyboard is')
  await page.locator('#close-player').focus()
  await page.keyboard.press('Enter')
  t.equal(await page.evaluate('document.activeElement.className'), 'play primary', 'and back')
  t.same(complaints, [])
})

testWith(t, 'a list of 300 torrents, and a map of 10,000 pieces', async (t) => {
  const { url } = await startApp(t, { MAX_TORRENTS: '2' })
  const { torrent, infohash } = await makeTorrent({ 'Large.mp4': Buffer.alloc(10_000 * 16_384) }, { name: 'Large' })
  await Promise.all(Array.from({ length: 300 }, async (_, i) => {
    const infoHash = i.toString(16).padStart(40, '0')
    await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ infoHash, name: `Torrent ${i}` }) })
  }))
  await fetch(`${url}/api/torrents`, { method: 'POST', headers: { 'Content-Type': 'application/x-bittorrent' }, body: new Uint8Array(torrent) })
  const { page, complaints } = await openPage(t, url)
  await page.getByRole('heading', { name: 'Large', exact: true }).waitFor()
  const card = page.locator('.card', { hasText: infohash })
  // The list moves while torrents come and go: a click at a place may miss.
  await becomesTrue(page, '((more, cards) => { if (!more.hidden && cards.length < 301) more.click(); return cards.length === 301 })(document.getElementById("more"), document.querySelectorAll(".card"))')
  await page.getByLabel('Find by name').fill('torrent 250')
  t.equal(await page.locator('.card:visible').count(), 1)
  await page.getByLabel('Find by name').fill('')
  // Whether it runs just now depends on the others: a stream makes it run.
  const stream = fetch(`${url}/stream/proxy/${infohash}`, { headers: { Range: 'bytes=0-0' } }).catch(() => {})
  await card.getByText('Files: 1').click()
  await page.getByRole('img', { name: /Pieces: 0 of 10000 here/ }).waitFor()
  await takePicture(page, 'many')
  await page.reload()
  await page.locator('#more').waitFor()
  await page.evaluate("import('./assets/torrents.js').then(({ show }) => { for (let i = 0; i < 250; i++) show({ infoHash: (4096 + i).toString(16).padStart(40, 'f'), name: 'new', status: 'queued' }) })")
  t.equal(await page.locator('#more').isVisible(), true, 'new ones are not those that are not shown yet')
  t.same(complaints, [])
  await stream
})
