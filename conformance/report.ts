// SPDX-License-Identifier: Apache-2.0
/**
 * report: the conformance report as Markdown, from what the suites came to. Pure. Whatever failed or was skipped
 * is named, with its reason.
 */
import type { Outcome, SuiteResult } from '../scripts/tally.ts'
import type { Figure } from './benchmark.ts'

export interface Run {
  /** What the run was made with and on, as pairs of a word and its value. */
  readonly facts: readonly (readonly [string, string])[]
  readonly results: readonly SuiteResult[]
  readonly figures: readonly Figure[]
}

/** The same suite of others, on a machine like those the project is developed on, with the same images. */
const peers = [['containerd 2.4', 'critest 1.36', '100 passed, 1 failed, 21 skipped', '75 s']] as const

function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  if (rows.length === 0) return []
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line), '']
}

const count = (r: SuiteResult, state: Outcome['state']): string =>
  String(r.outcomes.filter((o) => o.state === state).length)

function suiteRow(r: SuiteResult): string[] {
  if (r.cannot !== undefined) return [r.suite, '', '', 'all', '']
  const counts = (['passed', 'failed', 'skipped'] as const).map((state) => count(r, state))
  return [r.suite, ...counts, `${r.seconds.toFixed(0)} s`]
}

/** Skips of one suite for one reason, as one item that names them all. */
function skips(r: SuiteResult): string[] {
  if (r.cannot !== undefined) return [`- **${r.suite}**, all of it: ${r.cannot}`]
  const skipped = r.outcomes.filter((o) => o.state === 'skipped')
  return [...Map.groupBy(skipped, (o) => o.reason ?? 'no reason given')].flatMap(([reason, group]) => [
    `- **${r.suite}**, ${group.length}: ${reason}`,
    ...group.map((o) => `  - ${o.name}`),
  ])
}

function failures(r: SuiteResult): string[] {
  return r.outcomes
    .filter((o) => o.state === 'failed')
    .flatMap((o) => [
      `### ${r.suite}: ${o.name}`,
      '',
      '```',
      (o.detail ?? 'no detail').slice(0, 4000),
      '```',
      '',
    ])
}

function section(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`## ${title}`, '', ...lines, '']
}

/** The whole page; `chartFile` is where the chart of the benchmark lies beside it. */
export function report({ facts, results, figures }: Run, chartFile: string): string {
  const figureRows = figures.map((f) => [
    f.runtime,
    f.operation,
    f.medianMs.toFixed(1),
    f.p90Ms.toFixed(1),
    String(f.samples),
  ])
  return [
    '# Conformance',
    '',
    'Written by `npm run conformance`.',
    '',
    ...table(['', ''], facts),
    ...table(['suite', 'passed', 'failed', 'skipped', 'time'], results.map(suiteRow)),
    ...section('Failed', results.flatMap(failures)),
    ...section('Skipped', results.flatMap(skips)),
    ...section('Others', table(['runtime', 'suite', 'result', 'time'], peers)),
    ...section(
      'critest -benchmark',
      figures.length === 0
        ? []
        : [
            `![Medians and 90th percentiles](${chartFile})`,
            '',
            ...table(['runtime', 'operation', 'median ms', 'p90 ms', 'samples'], figureRows),
          ],
    ),
  ]
    .join('\n')
    .replace(/\n{3,}/g, '\n\n')
    .trimEnd()
    .concat('\n')
}
