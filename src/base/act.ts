// SPDX-License-Identifier: Apache-2.0
/**
 * act: one step of a piece of work that changes the host. It is a fault point before and after, and a debug
 * line with its duration, and a stage for those who observe; nothing else. Failure and undo belong to the caller.
 */
import { faultPoint } from './fault-point.ts'
import { measured } from './observer.ts'
import { checkpoint, type Scope } from './scope.ts'

/** Runs `step` unless the scope has ended. `work` and `name` are what fault points and logs call it. */
export async function act<T>(
  scope: Scope,
  at: { readonly work: string; readonly name: string },
  step: () => Promise<T>,
): Promise<T> {
  checkpoint(scope)
  await faultPoint(`${at.work}:${at.name}:before`)
  const begin = performance.now()
  const value = await measured(scope.task, at, step)
  scope.log.debug('act', {
    work: at.work,
    act: at.name,
    ms: Math.round((performance.now() - begin) * 100) / 100,
  })
  await faultPoint(`${at.work}:${at.name}:after`)
  return value
}
