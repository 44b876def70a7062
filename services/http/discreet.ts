/** On every answer: guess nothing, and tell nobody where it was; addresses may hold secrets. */
export const discreet = {
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer'
} as const
