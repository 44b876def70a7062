/**
 * Does a path match a route's pattern, as the router reads it: `:name`, `:name(regular expression)`, and `*` for the
 * rest? Percent-encoding is left as it is: a parameter takes any characters but a slash.
 */
export function pathMatcher (pattern: string): (path: string) => boolean {
  let source = ''
  for (let i = 0; i < pattern.length;) {
    const [parameter] = /^:\w+/.exec(pattern.slice(i)) ?? []
    if (parameter !== undefined) {
      i += parameter.length
      const end = pattern[i] === '(' ? endOfGroup(pattern, i) : i
      source += end === i ? '[^/]+' : `(?:${pattern.slice(i + 1, end - 1).replace(/^\^|\$$/g, '')})`
      i = end
    } else {
      source += pattern[i] === '*' ? '.*' : (pattern[i] ?? '').replace(/[^\w/]/, '\\$&')
      i++
    }
  }
  const expression = new RegExp(`^${source}$`)
  return (path) => expression.test(path)
}

/** The place behind the bracket that closes the one at `start`. */
function endOfGroup (pattern: string, start: number): number {
  let depth = 0
  for (let i = start; i < pattern.length; i++) {
    if (pattern[i] === '(') depth++
    if (pattern[i] === ')' && --depth === 0) return i + 1
  }
  return pattern.length
}
