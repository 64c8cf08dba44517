// SPDX-License-Identifier: Apache-2.0
/**
 * Samples: the measured values by figure and round, their quantiles, and the ratios of two runtimes pair by
 * pair. Pure; knows nothing of CRI.
 */

export type Unit = 'ms' | 'MiB' | 'KiB' | 'MiB/s' | '1/s' | '%' | 'n'

/** One figure: the values of each round, or why there are none. */
export interface Figure {
  unit: Unit
  rounds: Map<number, number[]>
  missing?: string
}

export interface Summary {
  n: number
  p50: number
  p90: number
  p99: number
  min: number
  max: number
}

/** The ratio of medians A/B over the pairs of one figure: its median and its extremes. */
export interface Ratio {
  pairs: number[]
  median: number
}

/** The q-quantile by linear interpolation between the closest ranks; NaN of nothing. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const position = (sorted.length - 1) * q
  const below = sorted[Math.floor(position)]
  const above = sorted[Math.ceil(position)]
  if (below === undefined || above === undefined) return Number.NaN
  return below + (above - below) * (position - Math.floor(position))
}

/** All figures of one runtime. */
export class Samples {
  readonly figures = new Map<string, Figure>()
  /** Sentences for the reader, beside the figures. */
  readonly notes: string[] = []

  add(name: string, unit: Unit, sample: { round: number; value: number }): void {
    const figure = this.figures.get(name) ?? { unit, rounds: new Map<number, number[]>() }
    const values = figure.rounds.get(sample.round) ?? []
    values.push(sample.value)
    figure.rounds.set(sample.round, values)
    this.figures.set(name, figure)
  }

  /** Notes that the runtime does not have this figure, and why. Values already there win. */
  missing(name: string, unit: Unit, why: string): void {
    if (!this.figures.has(name)) this.figures.set(name, { unit, rounds: new Map(), missing: why })
  }

  summary(name: string): Summary | undefined {
    const values = [...(this.figures.get(name)?.rounds.values() ?? [])].flat()
    if (values.length === 0) return undefined
    const at = (q: number) => quantile(values, q)
    return { n: values.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), min: at(0), max: at(1) }
  }
}

/** Median ratio a/b of the rounds that both have; undefined when there is no such round. */
export function ratio(a: Figure | undefined, b: Figure | undefined): Ratio | undefined {
  const pairs: number[] = []
  for (const [round, values] of a?.rounds ?? []) {
    const other = b?.rounds.get(round)
    if (other) pairs.push(quantile(values, 0.5) / quantile(other, 0.5))
  }
  const usable = pairs.filter(Number.isFinite)
  return usable.length === 0 ? undefined : { pairs: usable, median: quantile(usable, 0.5) }
}
