// SPDX-License-Identifier: Apache-2.0
/**
 * Budgets: the figures that the runtime must reach, as data, and their judgement. A `value` budget looks at the
 * median of runtime A; a `ratio` budget at the median over the pairs of A's median to B's, or to another of A's.
 */
import { ratio, type Samples } from './samples.ts'

export interface Budget {
  figure: string
  of: 'value' | 'ratio'
  limit: number
  /** Whether the limit is the least (`min`) or the most (`max`) that is allowed. */
  bound: 'max' | 'min'
  /** Another figure of A that `ratio` compares with, in place of the same figure of B. */
  to?: string
  /** Which quantile of A a `value` budget looks at; the median. */
  quantile?: 'p99'
  /** Only judged when at least so many pods were held. */
  pods?: number
}

export const BUDGETS: readonly Budget[] = Object.freeze([
  { figure: 'pods.up', of: 'ratio', limit: 0.45, bound: 'max' },
  { figure: 'pods.down', of: 'ratio', limit: 0.5, bound: 'max' },
  { figure: 'cni.up', of: 'ratio', limit: 0.65, bound: 'max' },
  { figure: 'wide.pods_per_second', of: 'ratio', limit: 2.2, bound: 'min' },
  { figure: 'exec.ExecSync', of: 'ratio', limit: 0.9, bound: 'max' },
  { figure: 'pods.RunPodSandbox', of: 'value', limit: 8, bound: 'max' },
  { figure: 'helpers.pss_per_pod', of: 'value', limit: 200, bound: 'max' },
  { figure: 'daemon.idle.rss', of: 'value', limit: 60, bound: 'max' },
  { figure: 'daemon.held.rss', of: 'value', limit: 90, bound: 'max', pods: 100 },
  { figure: 'daemon.settled.rss', of: 'value', limit: 65, bound: 'max', pods: 100 },
  { figure: 'start.ready', of: 'value', limit: 500, bound: 'max' },
  { figure: 'held.Version', of: 'value', limit: 0.5, bound: 'max' },
  { figure: 'held.ListContainers', of: 'value', limit: 2, bound: 'max', pods: 100 },
  { figure: 'stats.ListContainerStats', of: 'ratio', limit: 0.2, bound: 'max' },
  { figure: 'stats.ListContainerStats', of: 'value', limit: 10, bound: 'max', pods: 100 },
  { figure: 'stats.polling_cpu', of: 'value', limit: 2, bound: 'max', pods: 100 },
  { figure: 'stats.exit_event', of: 'value', quantile: 'p99', limit: 20, bound: 'max' },
  { figure: 'streaming.exec_first_byte', of: 'ratio', limit: 1, bound: 'max' },
  { figure: 'streaming.forward', of: 'ratio', limit: 1, bound: 'min' },
  { figure: 'streaming.asking', of: 'value', quantile: 'p99', limit: 20, bound: 'max' },
  { figure: 'images.gzip', of: 'ratio', limit: 0.4, bound: 'max' },
  { figure: 'images.gzip.cpu', of: 'ratio', limit: 0.6, bound: 'max' },
  { figure: 'images.gzip', of: 'ratio', to: 'images.tar', limit: 0.5, bound: 'max' },
  { figure: 'images.zstd', of: 'ratio', limit: 0.6, bound: 'max' },
  { figure: 'images.small_per_second', of: 'ratio', limit: 1.5, bound: 'min' },
  { figure: 'images.gzip.asking', of: 'value', quantile: 'p99', limit: 10, bound: 'max' },
  { figure: 'images.gzip.rss_growth', of: 'value', limit: 20, bound: 'max' },
])

export interface Verdict extends Budget {
  measured: number | undefined
  verdict: 'met' | 'missed' | 'not measured'
}

/** Judges every budget by what was measured of A, and of A against B where there is a B. */
export function judge(a: Samples, b: Samples | undefined, pods: number): Verdict[] {
  return BUDGETS.map((budget) => {
    const measured =
      budget.of === 'value'
        ? a.summary(budget.figure)?.[budget.quantile ?? 'p50']
        : ratio(
            a.figures.get(budget.figure),
            budget.to === undefined ? b?.figures.get(budget.figure) : a.figures.get(budget.to),
          )?.median
    if (measured === undefined || (budget.pods !== undefined && pods < budget.pods)) {
      return { ...budget, measured, verdict: 'not measured' }
    }
    const met = budget.bound === 'max' ? measured <= budget.limit : measured >= budget.limit
    return { ...budget, measured, verdict: met ? 'met' : 'missed' }
  })
}

/** Whether a run under --budget succeeds: something was judged and nothing was missed. */
export function passes(verdicts: readonly Verdict[]): boolean {
  const judged = verdicts.filter((one) => one.verdict !== 'not measured')
  return judged.length > 0 && judged.every((one) => one.verdict === 'met')
}
