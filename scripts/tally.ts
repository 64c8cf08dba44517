// SPDX-License-Identifier: Apache-2.0
/**
 * tally: what came out of each suite, and the verdict over all of them. Pure: it decides what a skip means,
 * what the closing summary says and whether the run is green; it runs nothing.
 */

export interface Outcome {
  readonly name: string
  readonly state: 'passed' | 'failed' | 'skipped'
  /** Why a test was skipped: what it passed to `ctx.skip(reason)`. */
  readonly reason?: string | undefined
  readonly file?: string | undefined
  /** What a failure said, for readers who have nothing but the summary. */
  readonly detail?: string | undefined
}

export interface SuiteResult {
  readonly suite: string
  readonly outcomes: readonly Outcome[]
  readonly seconds: number
  /** Set when the suite did not run at all: why this machine cannot run it. */
  readonly cannot?: string | undefined
}

export interface Verdict {
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  readonly ok: boolean
  /** The closing summary, one line each; the last line is the plain tally. */
  readonly lines: readonly string[]
}

const count = (outcomes: readonly Outcome[], state: Outcome['state']): number =>
  outcomes.filter((o) => o.state === state).length

const placeOf = (suite: string, o: Outcome): string => `${o.file ?? suite}: ${o.name}`

/** One line for all tests of a file that were skipped for the same reason. */
function skipLines(suite: string, skips: readonly Outcome[]): string[] {
  const groups = Map.groupBy(skips, (o) => `${o.file ?? suite} ${o.reason}`)
  return [...groups.values()].flatMap(([first, ...more]) => {
    if (first === undefined) return []
    const others = more.length > 0 ? ` and ${more.length} more` : ''
    return [`  skipped: ${placeOf(suite, first)}${others}: ${first.reason ?? 'no reason given'}`]
  })
}

const DETAIL_LINES = 20
const DETAIL_COLUMNS = 200

/** The beginning of a failure's text, indented. */
function shown(detail = ''): string[] {
  const lines = detail.split('\n').filter((line) => line.trim() !== '')
  const more = lines.length > DETAIL_LINES ? [`… and ${lines.length - DETAIL_LINES} lines more`] : []
  return [...lines.slice(0, DETAIL_LINES), ...more].map(
    (line) => `           ${line.slice(0, DETAIL_COLUMNS)}`,
  )
}

/**
 * The verdict. With `strict` (CI) a skip without a reason fails, and so does a suite that the machine can run
 * and of which every test was skipped. A run in which nothing passed or failed is not green.
 */
export function judge(results: readonly SuiteResult[], strict: boolean): Verdict {
  const lines: string[] = []
  const wrong: string[] = []
  let passed = 0
  let failed = 0
  let skipped = 0
  for (const r of results) {
    const p = count(r.outcomes, 'passed')
    const f = count(r.outcomes, 'failed')
    const s = count(r.outcomes, 'skipped') + (r.cannot === undefined ? 0 : 1)
    passed += p
    failed += f
    skipped += s
    const counts = `${p} passed, ${f} failed${s > 0 ? `, ${s} skipped` : ''}`
    lines.push(`  ${r.suite.padEnd(12)} ${counts.padEnd(36)} ${r.seconds.toFixed(1).padStart(7)} s`)
    if (strict && r.cannot === undefined && r.outcomes.length > 0 && p + f === 0)
      wrong.push(`suite ${r.suite}: this machine can run it, but every test was skipped`)
  }
  for (const r of results) {
    if (r.cannot !== undefined) lines.push(`  skipped: suite ${r.suite}: ${r.cannot}`)
    const skips = r.outcomes.filter((o) => o.state === 'skipped')
    lines.push(...skipLines(r.suite, skips))
    if (strict)
      wrong.push(
        ...skips.filter((o) => !o.reason).map((o) => `${placeOf(r.suite, o)}: skipped without a reason`),
      )
  }
  // Failures stand last, where a reader who sees only the end of a log finds them.
  for (const r of results)
    for (const o of r.outcomes)
      if (o.state === 'failed') lines.push(`  FAILED:  ${placeOf(r.suite, o)}`, ...shown(o.detail))
  for (const w of wrong) lines.push(`  FAILED:  ${w}`)
  failed += wrong.length
  if (passed + failed === 0) lines.push('  FAILED:  no test ran')
  lines.push(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return { passed, failed, skipped, ok: failed === 0 && passed > 0, lines }
}
