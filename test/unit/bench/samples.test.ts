// SPDX-License-Identifier: Apache-2.0
/** The arithmetic that turns measured values into figures, ratios and verdicts. */
import { describe, expect, it } from 'vitest'
import { BUDGETS, judge, passes } from '../../../bench/budgets.ts'
import { quantile, ratio, Samples } from '../../../bench/samples.ts'

function samplesOf(figure: string, rounds: readonly (readonly number[])[]): Samples {
  const samples = new Samples()
  rounds.forEach((values, round) => {
    for (const value of values) samples.add(figure, 'ms', { round, value })
  })
  return samples
}

describe('quantile', () => {
  it('interpolates between the closest ranks, whatever the order', () => {
    expect(quantile([4, 1, 3, 2], 0.5)).toBe(2.5)
    expect(quantile([10, 20, 30], 0.5)).toBe(20)
    expect(quantile([0, 100], 0.99)).toBeCloseTo(99)
    expect(quantile([7], 0.9)).toBe(7)
  })

  it('does not make a value out of nothing', () => {
    expect(quantile([], 0.5)).toBeNaN()
  })
})

describe('ratio', () => {
  it('compares round with round, so that a noisy round spoils one pair only', () => {
    const a = samplesOf('x', [[10, 10, 10], [500], [10]])
    const b = samplesOf('x', [[20], [20], [20]])
    expect(ratio(a.figures.get('x'), b.figures.get('x'))).toEqual({ pairs: [0.5, 25, 0.5], median: 0.5 })
  })

  it('leaves out rounds that only one has, and is undefined without any pair', () => {
    const a = samplesOf('x', [[10], [10]])
    const b = samplesOf('x', [[20]])
    expect(ratio(a.figures.get('x'), b.figures.get('x'))?.pairs).toEqual([0.5])
    expect(ratio(a.figures.get('x'), b.figures.get('y'))).toBeUndefined()
  })
})

describe('Samples', () => {
  it('keeps values over the note that a figure is missing', () => {
    const samples = samplesOf('x', [[1]])
    samples.missing('x', 'ms', 'UNIMPLEMENTED')
    samples.missing('y', 'ms', 'UNIMPLEMENTED')
    expect(samples.summary('x')?.p50).toBe(1)
    expect(samples.figures.get('x')?.missing).toBeUndefined()
    expect(samples.summary('y')).toBeUndefined()
    expect(samples.figures.get('y')?.missing).toBe('UNIMPLEMENTED')
  })
})

describe('budgets', () => {
  const verdictOf = (figure: string, a: Samples, b?: Samples, pods = 100) =>
    judge(a, b, pods).find((one) => one.figure === figure)?.verdict

  it('judges a value on both sides of its limit', () => {
    expect(verdictOf('pods.RunPodSandbox', samplesOf('pods.RunPodSandbox', [[8]]))).toBe('met')
    expect(verdictOf('pods.RunPodSandbox', samplesOf('pods.RunPodSandbox', [[8.1]]))).toBe('missed')
  })

  it('judges a rate the other way round', () => {
    const figure = 'wide.pods_per_second'
    expect(verdictOf(figure, samplesOf(figure, [[13.5]]), samplesOf(figure, [[6]]))).toBe('met')
    expect(verdictOf(figure, samplesOf(figure, [[13]]), samplesOf(figure, [[6]]))).toBe('missed')
  })

  it('does not judge a ratio without a peer, nor a figure of 100 pods with fewer', () => {
    expect(verdictOf('pods.up', samplesOf('pods.up', [[1]]))).toBe('not measured')
    const held = samplesOf('daemon.held.rss', [[1]])
    expect(verdictOf('daemon.held.rss', held, undefined, 20)).toBe('not measured')
    expect(verdictOf('daemon.held.rss', held)).toBe('met')
  })

  it('fails a run in which nothing was judged, or one figure missed', () => {
    expect(passes(judge(new Samples(), undefined, 100))).toBe(false)
    const all = new Samples()
    const peer = new Samples()
    for (const { figure, limit, to } of BUDGETS) {
      // The first of a figure's budgets is the strictest.
      if (!all.figures.has(figure)) all.add(figure, 'ms', { round: 0, value: limit })
      peer.add(figure, 'ms', { round: 0, value: 1 })
      if (to !== undefined) all.add(to, 'ms', { round: 0, value: 1 })
    }
    expect(passes(judge(all, peer, 100))).toBe(true)
    all.add('held.Version', 'ms', { round: 0, value: 10 })
    expect(passes(judge(all, peer, 100))).toBe(false)
  })

  it('judges a ratio to another figure of the same runtime, and a quantile', () => {
    const own = samplesOf('images.gzip', [[60]])
    own.add('images.tar', 'ms', { round: 0, value: 100 })
    for (let ms = 1; ms <= 100; ms++)
      own.add('images.gzip.asking', 'ms', { round: 0, value: ms > 97 ? 50 : 1 })
    const missed = judge(own, undefined, 100).filter((v) => v.verdict === 'missed')
    expect(missed.map((v) => [v.figure, v.to ?? v.quantile])).toEqual([
      ['images.gzip', 'images.tar'],
      ['images.gzip.asking', 'p99'],
    ])
  })
})
