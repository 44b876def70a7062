const monthPattern = '(?<month>[A-Z][a-z]{2})'
const timePattern = '(?<time>\\d\\d:\\d\\d:\\d\\d)'

/** IMF-fixdate, and the two obsolete forms that a recipient must accept (RFC 9110 section 5.6.7). */
const forms = [
  new RegExp(`^(?<weekday>[A-Z][a-z]{2}), (?<day>\\d\\d) ${monthPattern} (?<year>\\d{4}) ${timePattern} GMT$`),
  new RegExp(`^(?<weekday>Sun|Mon|Tues|Wednes|Thurs|Fri|Satur)day, (?<day>\\d\\d)-${monthPattern}-(?<year>\\d\\d) ${timePattern} GMT$`),
  new RegExp(`^(?<weekday>[A-Z][a-z]{2}) ${monthPattern} (?<day>[ \\d]\\d) ${timePattern} (?<year>\\d{4})$`)
]

/**
 * Milliseconds since 1970 of an HTTP-date; null for anything else, a date that does not exist or falls on another
 * weekday included. `now` decides the century of the obsolete form with two digits.
 */
export function parseHttpDate (text: string, now = new Date()): number | null {
  for (const form of forms) {
    const groups = form.exec(text)?.groups
    if (groups === undefined) continue
    const { weekday = '', day = '', month = '', year = '', time = '' } = groups
    const fixdate = `${weekday.slice(0, 3)}, ${day.replace(' ', '0')} ${month} ${fullYear(year, now)} ${time} GMT`
    const date = new Date(fixdate)
    // Date forgives what the grammar does not (Feb 31, hour 24, any weekday): only what comes back the same was a date
    return date.toUTCString() === fixdate ? date.getTime() : null
  }
  return null
}

/** Two digits that appear to be more than 50 years ahead mean the last century (RFC 9110 section 5.6.7). */
function fullYear (digits: string, now: Date): string {
  if (digits.length === 4) return digits
  const thisYear = now.getUTCFullYear()
  const year = thisYear - thisYear % 100 + Number(digits)
  return String(year > thisYear + 50 ? year - 100 : year)
}
