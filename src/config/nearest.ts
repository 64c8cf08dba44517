// SPDX-License-Identifier: Apache-2.0
/** nearest: which known word somebody may have meant, by edit distance. Pure. */

/** Insertions, deletions, replacements and swaps of neighbours that lead from `a` to `b`. */
export function distance(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let best = Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        best = Math.min(best, (before[j - 2] ?? 0) + 1)
      next.push(best)
    }
    before = row
    row = next
  }
  return row[b.length] ?? 0
}

/** The nearest of `known`, if it is near enough to be a slip. Only the first 100 characters of `word` count. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  const clipped = word.slice(0, 100)
  let best: string | undefined
  let least = Number.POSITIVE_INFINITY
  for (const k of known) {
    const d = distance(clipped, k)
    if (d < least) [best, least] = [k, d]
  }
  return least <= Math.max(2, Math.floor(clipped.length / 3)) ? best : undefined
}
