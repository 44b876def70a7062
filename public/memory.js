/** What was chosen here before. Where a browser keeps nothing, choices last as long as the page. */
export function recall (key) {
  try { return localStorage.getItem(key) } catch { return null }
}

export function remember (key, value) {
  try { localStorage.setItem(key, value) } catch { /* as above */ }
}
