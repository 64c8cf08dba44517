// SPDX-License-Identifier: Apache-2.0
/**
 * outcomes: what ginkgo reports of a run of critest, as the outcomes that this project's tally counts. Pure. A
 * spec that was left out says why: by what it said itself, or by its entry in skips.json.
 */
import type { Outcome } from '../../scripts/tally.ts'

export interface Skip {
  /** Regular expression over the name of a spec. */
  readonly match: string
  readonly reason: string
}

/** What is read of ginkgo's JSON report. */
export interface Report {
  readonly SpecReports?: readonly {
    readonly LeafNodeType: string
    readonly LeafNodeText: string
    readonly ContainerHierarchyTexts: readonly string[] | null
    readonly State: string
    readonly Failure?: { readonly Message?: string }
  }[]
}

/** One outcome a spec, benchmarks or the others, and one for a failure outside of them. */
export function outcomesOf(
  reports: readonly Report[],
  skips: readonly Skip[],
  benchmark: boolean,
): Outcome[] {
  const specs = reports.flatMap((r) => r.SpecReports ?? [])
  return specs.flatMap((s): Outcome[] => {
    const name = [...(s.ContainerHierarchyTexts ?? []), s.LeafNodeText].join(' ') || s.LeafNodeType
    const isSpec = s.LeafNodeType === 'It'
    if (isSpec && /benchmark/.test(name) !== benchmark) return []
    if (s.State === 'passed') return isSpec ? [{ name, state: 'passed' }] : []
    const said = s.Failure?.Message
    if (s.State === 'skipped' || s.State === 'pending') {
      const reason = said || skips.find((k) => new RegExp(k.match).test(name))?.reason
      return isSpec ? [{ name, state: 'skipped', reason }] : []
    }
    return [{ name, state: 'failed', detail: `${s.State}: ${said ?? ''}` }]
  })
}
