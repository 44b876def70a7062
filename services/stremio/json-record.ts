/** What a JSON object is, and nothing else. */
export function isRecord (value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** So deep an entry of another's answer is, at most: JSON that is thousands of levels deep is read, and cannot be written again. */
const MAX_DEPTH = 10
/** As JSON; none has more than a few hundred. */
const MAX_CHARACTERS = 20_000

/** May this entry of somebody's answer be passed on? */
export function isModest (fields: Readonly<Record<string, unknown>>): boolean {
  return isWithin(fields, MAX_DEPTH) && JSON.stringify(fields).length <= MAX_CHARACTERS
}

function isWithin (value: unknown, depth: number): boolean {
  return typeof value !== 'object' || value === null || (depth > 0 && Object.values(value).every((each) => isWithin(each, depth - 1)))
}
