import { language } from './i18n.js'

const numbers = new Map()

/** Numbers as the chosen language writes them. */
function number (value, digits) {
  const key = `${language()} ${digits}`
  if (!numbers.has(key)) numbers.set(key, new Intl.NumberFormat(language(), { minimumFractionDigits: digits, maximumFractionDigits: digits }))
  return numbers.get(key).format(value)
}

/** Bytes in units of 1000, kept together in text that runs from right to left. */
export function size (bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  const power = bytes < 1 ? 0 : Math.min(Math.floor(Math.log10(bytes) / 3), units.length - 1)
  return isolate(`${number(bytes / 1000 ** power, power > 1 ? 1 : 0)} ${units[power]}`)
}

export function speed (bytesPerSecond) {
  return isolate(`${size(bytesPerSecond).slice(1, -1)}/s`)
}

export function percent (share) {
  return isolate(`${number(share * 100, 1)} %`)
}

export function time (date) {
  return new Intl.DateTimeFormat(language(), { timeStyle: 'medium' }).format(date)
}

export function dateTime (date) {
  return new Intl.DateTimeFormat(language(), { dateStyle: 'medium', timeStyle: 'short' }).format(date)
}

/** Unicode's isolate: left to right, whatever is around it. */
export function isolate (text) {
  return `\u2066${text}\u2069`
}

/** The same for text of unknown direction, such as names. */
export function isolateName (text) {
  return `\u2068${text}\u2069`
}
