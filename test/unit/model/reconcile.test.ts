// SPDX-License-Identifier: Apache-2.0
/** Reconcile: every state that can be on disk × everything that can be seen of it, as one table. */
import { describe, expect, test } from 'vitest'
import { type ContainerState, created, exited, running, unknownExit } from '../../../src/model/container.ts'
import { unixNanos } from '../../../src/model/ids.ts'
import { type PodState, podLeftover, ready, stopped } from '../../../src/model/pod.ts'
import { decideContainer, decidePod } from '../../../src/model/reconcile.ts'

const at = unixNanos(1n)
const process = { bootId: 'b', pid: 7, startTicks: 1n }
const both = [true, false]
const every = both.flatMap((sameBoot) =>
  both.flatMap((monitor) => both.map((exitFile) => ({ sameBoot, monitor, exitFile }))),
)
const runtimes = [undefined, 'created', 'running', 'stopped']

/** The decisions for a state over all that can be seen, without repetitions. */
function decisions(state: ContainerState | undefined): Record<string, string> {
  const out: Record<string, string> = {}
  for (const seen of every) {
    for (const runtime of runtimes) {
      const key = `${seen.sameBoot ? 'same boot' : 'other boot'}, ${seen.monitor ? 'monitor' : 'no monitor'}, ${
        seen.exitFile ? 'exit file' : 'no exit file'
      }, ${runtime ?? 'unknown'}`
      out[key] = decideContainer(state, { ...seen, runtime }).do
    }
  }
  return out
}

const always = (decision: string, state: ContainerState | undefined) =>
  expect(new Set(Object.values(decisions(state)))).toEqual(new Set([decision]))

describe('a container', () => {
  test('without a state, or being created: its making was not finished, whatever is seen', () => {
    always('forget', undefined)
    always('forget', { phase: 'creating' })
  })

  test('left over: is forgotten, whatever is seen', () => {
    always('forget', { phase: 'leftover', why: '', unfinished: [] })
  })

  test('exited, or without a program to start: is kept, whatever is seen', () => {
    always('keep', exited(running(process, at), unknownExit(at, '')))
    always('keep', created(undefined, 'no such file'))
  })

  test('running: is adopted only with a monitor, in the same boot, without an exit file', () => {
    for (const [seen, decision] of Object.entries(decisions(running(process, at)))) {
      expect([seen, decision]).toEqual([
        seen,
        seen.startsWith('same boot, monitor, no exit file') ? 'adopt' : 'settle-exit',
      ])
    }
  })

  test('created: the same, and what the runtime has started in the meantime is running', () => {
    for (const [seen, decision] of Object.entries(decisions(created(process)))) {
      const alive = seen.startsWith('same boot, monitor, no exit file')
      const wanted = !alive ? 'settle-exit' : seen.endsWith('running') ? 'adopt-running' : 'adopt'
      expect([seen, decision]).toEqual([seen, wanted])
    }
  })
})

describe('a pod', () => {
  const states: readonly [string, PodState | undefined, readonly string[]][] = [
    // In the order: same boot and pause alive, same boot and pause gone, other boot, other boot and pause gone.
    ['without a state', undefined, ['forget', 'forget', 'forget', 'forget']],
    ['creating', { phase: 'creating' }, ['forget', 'forget', 'forget', 'forget']],
    ['left over', podLeftover('', []), ['forget', 'forget', 'forget', 'forget']],
    ['stopped', stopped(at), ['keep', 'keep', 'keep', 'keep']],
    ['ready', ready(['10.0.0.1'], process), ['keep', 'stop', 'stop', 'stop']],
  ]
  test.each(states)('%s', (_what, state, wanted) => {
    const seen = both.flatMap((sameBoot) =>
      [false, true].map((pauseGone) => decidePod(state, { sameBoot, pauseGone }).do),
    )
    expect(seen).toEqual(wanted)
  })
})
