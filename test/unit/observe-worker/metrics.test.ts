// SPDX-License-Identifier: Apache-2.0
/** The exposition: what is counted where, that labels stay few, and that dashboard and document name what is there. */
import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { metrics } from '../../../src/observe-worker/metrics.ts'
import { type DaemonState, GAUGES, type GaugeName } from '../../../src/observe-worker/protocol.ts'
import { expositionOf } from '../../support/exposition.ts'

const at = { beganMs: 1000, endedMs: 1030 }
const task = { id: 1, name: 'Version', code: 0, ...at }
const stage = { work: 'run-pod', name: 'network', task: 1, fault: '', ...at }
const names = Object.keys(GAUGES) as GaugeName[]
const state: DaemonState = {
  pods: { ready: 2 },
  containers: { running: 3, exited: 1 },
  images: { ready: 4 },
  values: Object.fromEntries(names.map((name, i) => [name, i])) as DaemonState['values'],
  cpuSeconds: 1.5,
  loopLag: { 0.5: 0, 0.99: 0.001, 1: 0.25 },
}

it('calls and stages go into the histograms, the state into gauges that are replaced', async () => {
  const m = metrics('1.2.3')
  m.task(task)
  m.task({ ...task, code: 5 })
  m.stage(stage)
  m.stage({ ...stage, fault: 'timeout' })
  m.state(state)
  m.state({ ...state, pods: { stopped: 1 }, cpuSeconds: 2 })
  const e = expositionOf(await m.text())
  expect(e.value('gantry_rpc_duration_seconds_count', { method: 'Version', code: 'OK' })).toBe(1)
  expect(
    e.value('gantry_rpc_duration_seconds_bucket', { method: 'Version', code: 'NotFound', le: '0.025' }),
  ).toBe(0)
  expect(
    e.value('gantry_rpc_duration_seconds_bucket', { method: 'Version', code: 'NotFound', le: '0.05' }),
  ).toBe(1)
  const network = { work: 'run-pod', stage: 'network' }
  expect(e.value('gantry_stage_duration_seconds_count', { ...network, outcome: 'error' })).toBe(1)
  expect(e.value('gantry_stage_duration_seconds_sum', { ...network, outcome: 'ok' })).toBeCloseTo(0.03)
  expect(e.all('gantry_pods')).toEqual([{ labels: { state: 'stopped' }, value: 1 }])
  expect(e.value('gantry_containers', { state: 'running' })).toBe(3)
  expect(e.value('gantry_process_cpu_seconds_total', {})).toBe(2)
  expect(e.value('gantry_build_info', { version: '1.2.3' })).toBe(1)
})

it('a flood of names, and what is no name, counts as other', async () => {
  const m = metrics('0')
  for (let i = 0; i < 5000; i++) m.task({ ...task, name: `M${i}` })
  m.stage({ ...stage, work: 'a\nb"', name: 'x'.repeat(100) })
  const text = await m.text()
  const e = expositionOf(text)
  expect(e.all('gantry_rpc_duration_seconds_count').length).toBeLessThanOrEqual(129)
  expect(e.value('gantry_rpc_duration_seconds_count', { method: 'other', code: 'OK' })).toBe(5000 - 128)
  expect(
    e.value('gantry_stage_duration_seconds_count', { work: 'other', stage: 'other', outcome: 'ok' }),
  ).toBe(1)
})

it('names are as Prometheus wants them, and the dashboard, the document and the exposition know the same ones', async () => {
  const m = metrics('0')
  m.task(task)
  m.stage(stage)
  m.state(state)
  const known = new Set(expositionOf(await m.text()).families)
  const bad = [...known].filter(
    (n) => !/^gantry_[a-z_]*[a-z]$/.test(n) || /_(?:ms|milliseconds|kb|mib)$/.test(n),
  )
  expect(bad).toEqual([])
  const read = (path: string) => readFileSync(new URL(`../../../${path}`, import.meta.url), 'utf8')
  const namesIn = (text: string) =>
    new Set([...text.matchAll(/\bgantry_[a-z_]+\b/g)].map(([n]) => n.replace(/_(?:bucket|sum|count)$/, '')))
  const dashboard = read('docs/grafana-dashboard.json')
  const queries = [...dashboard.matchAll(/"expr": "((?:[^"\\]|\\.)*)"/g)].map(([, expr]) => expr).join('\n')
  expect([...namesIn(queries)].filter((n) => !known.has(n))).toEqual([])
  expect(namesIn(queries).size).toBeGreaterThan(15)
  expect(() => JSON.parse(dashboard)).not.toThrow()
  const document = namesIn(read('docs/observability.md'))
  expect([...known].filter((n) => !document.has(n))).toEqual([])
  expect([...document].filter((n) => !known.has(n))).toEqual([])
})
