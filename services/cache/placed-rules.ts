/** Extensions of the files that count as placed ones, lower case, with the dot. */
export const placedExtensions: ReadonlySet<string> = new Set(['.mp4', '.mkv', '.avi', '.mov', '.m4v', '.webm', '.flv'])

/** A placed file that is smaller does not count. */
export const minimumPlacedBytes = 1_000_000
