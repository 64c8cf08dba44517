// SPDX-License-Identifier: Apache-2.0
/** The conformance report: nothing that failed or was skipped goes unsaid, and the figures are those measured. */
import { expect, test } from 'vitest'
import { chart, figuresOf } from '../../../conformance/benchmark.ts'
import { outcomesOf } from '../../../conformance/critest/outcomes.ts'
import { report } from '../../../conformance/report.ts'

const spec = (LeafNodeText: string, State: string, Message?: string) => ({
  LeafNodeType: 'It',
  LeafNodeText,
  ContainerHierarchyTexts: ['[k8s.io] Runtime'],
  State,
  ...(Message === undefined ? {} : { Failure: { Message } }),
})

test('the outcomes of critest: one a spec, each skip with its reason, benchmarks apart, broken hooks too', () => {
  const hook = {
    LeafNodeType: 'BeforeSuite',
    LeafNodeText: '',
    ContainerHierarchyTexts: null,
    State: 'panicked',
  }
  const specs = [
    spec('works', 'passed'),
    spec('breaks', 'failed', 'Expected 1'),
    spec('hangs', 'timedout'),
    spec('needs AppArmor', 'skipped', 'AppArmor is off'),
    spec('is not ours', 'skipped'),
    spec('benchmark of pods', 'skipped'),
    hook,
  ]
  const skips = [{ match: 'not ours', reason: 'left out on purpose' }]
  expect(outcomesOf([{ SpecReports: specs }], skips, false)).toEqual([
    { name: '[k8s.io] Runtime works', state: 'passed' },
    { name: '[k8s.io] Runtime breaks', state: 'failed', detail: 'failed: Expected 1' },
    { name: '[k8s.io] Runtime hangs', state: 'failed', detail: 'timedout: ' },
    { name: '[k8s.io] Runtime needs AppArmor', state: 'skipped', reason: 'AppArmor is off' },
    { name: '[k8s.io] Runtime is not ours', state: 'skipped', reason: 'left out on purpose' },
    { name: 'BeforeSuite', state: 'failed', detail: 'panicked: ' },
  ])
})

const durations = [3, 1, 2, 10, 4].map((ms) => ({ operationsDurationsNs: [ms * 1e6, 1e6] }))
const figures = figuresOf(
  'gantry',
  JSON.stringify({ operationsNames: ['Create<Pod>', 'Stop'], datapoints: durations }),
)

test('figures are medians and 90th percentiles, and the chart has each', () => {
  expect(figures[0]).toEqual({
    runtime: 'gantry',
    operation: 'Create<Pod>',
    medianMs: 3,
    p90Ms: 4,
    samples: 5,
  })
  const svg = chart(figures)
  expect(svg).toContain('Create&#60;Pod&#62;')
  expect(svg.match(/<rect/g)).toHaveLength(4)
})

test('the report names what failed and what was skipped, suite by suite', () => {
  const results = [
    {
      suite: 'critest',
      seconds: 75.4,
      outcomes: [
        { name: 'works', state: 'passed' as const },
        { name: 'breaks', state: 'failed' as const, detail: 'Expected 1' },
        { name: 'a', state: 'skipped' as const, reason: 'no AppArmor' },
        { name: 'b', state: 'skipped' as const, reason: 'no AppArmor' },
      ],
    },
    { suite: 'kubelet', seconds: 0, outcomes: [], cannot: 'Go is not installed' },
  ]
  const text = report({ facts: [['runc', '1.1|5']], results, figures }, 'chart.svg')
  expect(text).toContain('| runc | 1.1\\|5 |')
  expect(text).toContain('| critest | 1 | 1 | 2 | 75 s |')
  expect(text).toContain('### critest: breaks\n\n```\nExpected 1\n```')
  expect(text).toContain('- **critest**, 2: no AppArmor\n  - a\n  - b\n')
  expect(text).toContain('- **kubelet**, all of it: Go is not installed')
  expect(text).toContain('![Medians and 90th percentiles](chart.svg)')
})
