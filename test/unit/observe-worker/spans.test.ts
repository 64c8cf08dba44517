// SPDX-License-Identifier: Apache-2.0
/** Spans: whose trace they continue, what is sampled, what they say and what they never say. */
import { describe, expect, it } from 'vitest'
import { parseTraceparent, spans } from '../../../src/observe-worker/spans.ts'

const [trace, parent] = ['4bf92f3577b34da6a3ce929d0e0e4736', '00f067aa0ba902b7']
const at = { beganMs: 1_795_514_345_590.25, endedMs: 1_795_514_345_600.5 }
const task = { id: 7, name: 'RunPodSandbox', code: 0, ...at }
const stage = { work: 'run-pod', name: 'network', task: 7, fault: '', ...at }

describe('traceparent', () => {
  it.each([
    [`00-${trace}-${parent}-01`, { traceId: trace, parentId: parent, sampled: true }],
    [`00-${trace}-${parent}-00`, { traceId: trace, parentId: parent, sampled: false }],
    [`cc-${trace}-${parent}-03-more`, { traceId: trace, parentId: parent, sampled: true }],
  ])('%s is one', (text, context) => expect(parseTraceparent(text)).toEqual(context))

  it.each([
    undefined,
    '',
    `ff-${trace}-${parent}-01`,
    `00-${trace}-${parent}-01-more`,
    `00-${'0'.repeat(32)}-${parent}-01`,
    `00-${trace}-${'0'.repeat(16)}-01`,
    `00-${trace.toUpperCase()}-${parent}-01`,
    `00-${trace}-${parent}`,
    `00-${trace}-${parent}-01\n`,
    'x'.repeat(100_000),
  ])('%j is none', (text) => expect(parseTraceparent(text)).toBeUndefined())
})

it('a call continues the trace that it was sent, its stages are below it', () => {
  const made = spans(0)
  expect(made.stage(stage)).toEqual([])
  const [call, act, ...rest] = made.task({ ...task, traceparent: `00-${trace}-${parent}-01` })
  expect(rest).toEqual([])
  expect(call).toMatchObject({
    traceId: trace,
    parentSpanId: parent,
    name: 'runtime.v1/RunPodSandbox',
    kind: 2,
    startTimeUnixNano: '1795514345590250000',
    endTimeUnixNano: '1795514345600500000',
    status: {},
  })
  expect(act).toMatchObject({ traceId: trace, parentSpanId: call?.spanId, name: 'run-pod:network', kind: 1 })
  expect(call?.spanId).toMatch(/^[0-9a-f]{16}$/)
})

it('a caller that does not sample is followed, whatever the ratio; without one the ratio decides', () => {
  expect(spans(1).task({ ...task, traceparent: `00-${trace}-${parent}-00` })).toEqual([])
  expect(spans(0.5, () => 0.5).task(task)).toEqual([])
  expect(spans(0.5, () => 0.49).task(task)).toHaveLength(1)
  expect(spans(0.5, () => 0.49).stage({ ...stage, task: 0 })).toHaveLength(1)
})

it('what failed says so by the names of code and kind', () => {
  const made = spans(1)
  made.stage({ ...stage, fault: 'timeout' })
  const [call, act] = made.task({ ...task, name: 'Node.Pull', code: 4 })
  expect(call).toMatchObject({
    name: 'gantry.v1.Node/Pull',
    status: { code: 2, message: 'DeadlineExceeded' },
  })
  expect(act).toMatchObject({ status: { code: 2, message: 'timeout' } })
})

it('stages of calls that never end are forgotten, the oldest first', () => {
  const made = spans(1)
  for (let id = 1; id <= 2000; id++) made.stage({ ...stage, task: id })
  expect(made.task({ ...task, id: 1 })).toHaveLength(1)
  expect(made.task({ ...task, id: 2000 })).toHaveLength(2)
})
