import type { Test } from 'tap'

/**
 * What the long-running tests share: how much they do, from which seed, and how they tell their figures.
 */

/** A count from the environment; the default is what CI has time for. */
export function amount (name: string, inCi: number): number {
  const text = process.env[name]
  if (text === undefined || text === '') return inCi
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} must be a whole number, got ${text}`)
  return value
}

/** The seed of this run, printed: SOAK_SEED brings the same choices again. */
export function seedOf (t: Test): number {
  const seed = amount('SOAK_SEED', Date.now() % 1_000_000)
  t.comment(`SOAK_SEED=${seed}`)
  return seed
}

/** Prints a figure in the form that scripts/soak.ts gathers. */
export function tellFigure (t: Test, name: string, value: string | number): void {
  t.comment(`figure: ${name} = ${value}`)
}
