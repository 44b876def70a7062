/**
 * The elements of a comma-separated list field (RFC 9110 section 5.6.1: `#element`), as they were written.
 * Empty elements are skipped, as a recipient must. `element` is the grammar of one element. null: something in the
 * list is none, or there are more than `limit` elements, empty ones included. Linear in the length of the field.
 */
export function parseList (field: string, element: RegExp, limit = Infinity): string[] | null {
  const next = new RegExp(`(${element.source})?(?:[ \\t]*(,)[ \\t]*|$)`, 'y')
  const elements: string[] = []
  for (let count = 0; count < limit; count++) {
    const match = next.exec(field)
    if (match === null) return null
    const [, text, comma] = match
    if (text !== undefined) elements.push(text)
    if (comma === undefined) return elements
  }
  return null
}
