import { PassThrough } from 'node:stream'
import { once } from 'node:events'
import t from 'tap'
import { listenForStop } from '../../services/stop-words.ts'

/** The words that were heard in these chunks. */
async function heard (...chunks: string[]): Promise<string[]> {
  const input = new PassThrough()
  const words: string[] = []
  listenForStop(input, (word) => { words.push(word) })
  for (const chunk of chunks) input.write(chunk)
  input.end()
  await once(input, 'end')
  return words
}

t.test('what panels type to stop a server is heard', async (t) => {
  for (const typed of ['stop\n', 'STOP\r\n', '  stop  \n', 'hello\nstop\n', 'stop\r']) t.same(await heard(typed), ['stop'], JSON.stringify(typed))
  for (const typed of ['^C\n', '^c\n', '\x03', 'hello\n\x03', '\x03\n']) t.same(await heard(typed), ['^C'], JSON.stringify(typed))
  t.same(await heard('st', 'op', '\n'), ['stop'], 'in pieces')
  t.same(await heard('stop\nstop\n'), ['stop', 'stop'], 'twice is a second wish')
})

t.test('nothing else is, nor the end of the input', async (t) => {
  for (const typed of ['', 'stop', 'stopp\n', 'do not stop\n', '\n', 'st\nop\n', `${'x'.repeat(100_000)}stop\n`]) t.same(await heard(typed), [], JSON.stringify(typed.slice(-20)))
})

t.test('a line without an end takes no memory, and what follows it is heard', async (t) => {
  t.same(await heard(...Array.from({ length: 1000 }, () => 'stop'.repeat(100)), '\nstop\n'), ['stop'])
})

t.test('an input that breaks means nothing, and after the listening nothing is heard', async (t) => {
  const input = new PassThrough()
  const words: string[] = []
  const end = listenForStop(input, (word) => { words.push(word) })
  input.emit('error', new Error('EIO'))
  end()
  input.write('stop\n')
  t.same(words, [])
})
