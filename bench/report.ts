// SPDX-License-Identifier: Apache-2.0
/**
 * Report: turns samples into the printed table, the verdicts and the JSON document. Pure but for the machine's
 * name, cores and kernel, which belong to every figure.
 */
import { arch, cpus, release, totalmem } from 'node:os'
import type { Verdict } from './budgets.ts'
import type { Options } from './options.ts'
import { ratio, type Samples, type Unit } from './samples.ts'

export interface Subject {
  /** A or B. */
  label: string
  name: string
  version: string
  socket: string
  samples: Samples
}

const digits = (value: number): string => {
  if (Math.abs(value) >= 100) return value.toFixed(0)
  return Math.abs(value) >= 10 ? value.toFixed(1) : value.toFixed(2)
}

function cells(samples: Samples, figure: string): string[] {
  const summary = samples.summary(figure)
  if (!summary) return [samples.figures.get(figure)?.missing ? 'n/a' : '-', '', '']
  if (summary.n === 1) return [digits(summary.p50), '', '']
  return [summary.p50, summary.p90, summary.p99].map(digits)
}

/** Every figure that any of the subjects has, in the order in which they were first measured. */
function figures(subjects: readonly Subject[]): Map<string, Unit> {
  const all = new Map<string, Unit>()
  for (const { samples } of subjects) {
    for (const [name, { unit }] of samples.figures) all.set(name, all.get(name) ?? unit)
  }
  return all
}

function ratioCell(subjects: readonly Subject[], figure: string): string {
  const [a, b] = subjects
  const found = ratio(a?.samples.figures.get(figure), b?.samples.figures.get(figure))
  if (!found) return '-'
  if (found.pairs.length === 1) return digits(found.median)
  return `${digits(found.median)} (${digits(Math.min(...found.pairs))}-${digits(Math.max(...found.pairs))})`
}

/** The table of one or two runtimes, with the ratios A/B of two. */
export function table(subjects: readonly Subject[]): string {
  const head = [
    'figure',
    'unit',
    ...subjects.flatMap(({ label, name }) => [`${label} ${name} p50`, 'p90', 'p99']),
  ]
  if (subjects.length === 2) head.push('A/B (pairs)')
  const rows = [...figures(subjects)].map(([figure, unit]) => {
    const row = [figure, unit, ...subjects.flatMap(({ samples }) => cells(samples, figure))]
    return subjects.length === 2 ? [...row, ratioCell(subjects, figure)] : row
  })
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join('  ')
  const rule = widths.map((width) => '-'.repeat(width)).join('  ')
  return [line(head), rule, ...rows.map(line)].map((text) => text.trimEnd()).join('\n')
}

/** What was measured, on what; the lines before the table. */
export function heading(subjects: readonly Subject[], seconds: number): string {
  const machine = `${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release()} ${arch()}`
  const names = subjects.map(
    ({ label, name, version, socket }) => `${label} = ${name} ${version} (${socket})`,
  )
  return [...names, `${machine}; ${new Date().toISOString()}; took ${seconds.toFixed(0)} s`].join('\n')
}

/** One line for each budget. */
export function budgetLines(verdicts: readonly Verdict[]): string {
  return verdicts
    .map(({ verdict, figure, of, to, quantile, bound, limit, measured }) => {
      const versus = of === 'ratio' ? `/ ${to ?? 'B'} ` : ''
      const rule = `${figure} ${quantile ? `${quantile} ` : ''}${versus}${bound === 'max' ? '<=' : '>='} ${limit}`
      return `${verdict.padEnd(12)}  ${rule}${measured === undefined ? '' : `: ${digits(measured)}`}`
    })
    .join('\n')
}

/** The JSON document: every value by round, the summaries, the ratios and the verdicts. */
export function document(
  subjects: readonly Subject[],
  options: Options,
  verdicts: readonly Verdict[],
): string {
  const all = figures(subjects)
  const runtimes = subjects.map(({ label, name, version, socket, samples }) => ({
    label,
    name,
    version,
    socket,
    notes: samples.notes,
    figures: Object.fromEntries(
      [...samples.figures].map(([figure, { unit, rounds, missing }]) => [
        figure,
        { unit, missing, ...samples.summary(figure), rounds: Object.fromEntries(rounds) },
      ]),
    ),
  }))
  const [a, b] = subjects
  const pair = (figure: string) => ratio(a?.samples.figures.get(figure), b?.samples.figures.get(figure))
  const ratios = Object.fromEntries([...all.keys()].map((figure) => [figure, pair(figure)]))
  const machine = {
    cores: cpus().length,
    cpu: cpus()[0]?.model,
    memoryBytes: totalmem(),
    kernel: release(),
    arch: arch(),
  }
  const used = { ...options, only: [...options.only] }
  const date = new Date().toISOString()
  return `${JSON.stringify({ date, machine, options: used, runtimes, ratios, budgets: verdicts }, undefined, 2)}\n`
}
