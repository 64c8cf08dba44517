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
    for (const o of r.outcomes) {
      const place = o.file === undefined ? `${r.suite}: ${o.name}` : `${o.file}: ${o.name}`
      if (o.state === 'failed') lines.push(`  FAILED:  ${place}`)
      if (o.state !== 'skipped') continue
      lines.push(`  skipped: ${place}: ${o.reason ?? 'no reason given'}`)
      if (strict && !o.reason) wrong.push(`${place}: skipped without a reason`)
    }
  }
  for (const w of wrong) lines.push(`  FAILED:  ${w}`)
  failed += wrong.length
  if (passed + failed === 0) lines.push('  FAILED:  no test ran')
  lines.push(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`)
  return { passed, failed, skipped, ok: failed === 0 && passed > 0, lines }
}
