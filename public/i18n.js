import en from './texts-en.js'
import he from './texts-he.js'

const languages = { en, he }
const listeners = new Set()
let current = 'en'

export function language () {
  return current
}

/** The text of this key; `{name}` in it is replaced by params.name. What is not translated is English. */
export function text (key, params = {}) {
  const found = languages[current][key] ?? en[key] ?? key
  return found.replace(/\{(\w+)\}/g, (_, name) => params[name] ?? '')
}

/** The text of a value that the server names, such as a state; its own word where there is none. */
export function word (group, value) {
  const key = `${group}.${value}`
  return languages[current][key] ?? en[key] ?? value
}

/** Writes the texts of all elements in `root` that ask for one. */
export function translate (root) {
  for (const element of root.querySelectorAll('[data-t]')) element.textContent = text(element.dataset.t)
  for (const element of root.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', text(element.dataset.tLabel))
  for (const element of root.querySelectorAll('[data-t-placeholder]')) element.setAttribute('placeholder', text(element.dataset.tPlaceholder))
}

/** Changes the language of the whole page; who listens writes his texts anew. */
export function setLanguage (name) {
  current = name in languages ? name : 'en'
  document.documentElement.lang = current
  document.documentElement.dir = current === 'he' ? 'rtl' : 'ltr'
  translate(document)
  for (const listener of listeners) listener()
}

export function onLanguage (listener) {
  listeners.add(listener)
}

/** What was chosen here before, else what the browser prefers. */
export function preferredLanguage (chosen, preferred) {
  if (chosen in languages) return chosen
  return preferred.map((tag) => tag.split('-')[0]).find((tag) => tag in languages || tag === 'iw')?.replace('iw', 'he') ?? 'en'
}
