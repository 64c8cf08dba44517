// SPDX-License-Identifier: Apache-2.0
/**
 * The thinking of crash recovery: from what is on disk and what was seen on the host to one decision an object.
 * Pure, so that every combination can be written down as a table in the tests; `engine/state/recover.ts` acts.
 */
import type { ContainerState } from './container.ts'
import type { PodState } from './pod.ts'

export interface ContainerSeen {
  /** The record was made in the boot that we are in. */
  readonly sameBoot: boolean
  /** Its monitor answers. */
  readonly monitor: boolean
  readonly exitFile: boolean
  /** What the OCI runtime says; asked only where it decides. */
  readonly runtime: string | undefined
}

export type ContainerDecision =
  /** Half-made or half-removed: release everything, forget it. */
  | { readonly do: 'forget'; readonly why: string }
  /** Watch the monitor again; the state stays. */
  | { readonly do: 'adopt' }
  /** Start had opened the gate, but not written it down. */
  | { readonly do: 'adopt-running' }
  /** It ended meanwhile: exit file or unknown. */
  | { readonly do: 'settle-exit'; readonly why: string }
  | { readonly do: 'keep' }

export function decideContainer(state: ContainerState | undefined, seen: ContainerSeen): ContainerDecision {
  if (!state || state.phase === 'creating') return { do: 'forget', why: 'its creation was not finished' }
  switch (state.phase) {
    case 'leftover':
      return { do: 'forget', why: 'an earlier release was not finished' }
    case 'exited':
      return { do: 'keep' }
    case 'created':
      if (state.startError !== undefined) return { do: 'keep' }
      if (seen.exitFile || !seen.sameBoot || !seen.monitor)
        return { do: 'settle-exit', why: 'it ended while the daemon was away' }
      return seen.runtime === 'running' ? { do: 'adopt-running' } : { do: 'adopt' }
    case 'running':
      if (seen.exitFile || !seen.sameBoot || !seen.monitor)
        return { do: 'settle-exit', why: 'it ended while the daemon was away' }
      return { do: 'adopt' }
    default:
      return state satisfies never
  }
}

export type PodDecision =
  | { readonly do: 'forget'; readonly why: string }
  | { readonly do: 'keep' }
  /** Its namespaces did not survive: give the address back, show it as not ready. */
  | { readonly do: 'stop'; readonly why: string }

export function decidePod(
  state: PodState | undefined,
  seen: { readonly sameBoot: boolean; readonly pauseGone: boolean },
): PodDecision {
  if (!state || state.phase === 'creating') return { do: 'forget', why: 'its making was not finished' }
  switch (state.phase) {
    case 'leftover':
      return { do: 'forget', why: 'an earlier release was not finished' }
    case 'stopped':
      return { do: 'keep' }
    case 'ready':
      if (!seen.sameBoot) return { do: 'stop', why: 'the machine was restarted' }
      return seen.pauseGone ? { do: 'stop', why: 'its pause process is gone' } : { do: 'keep' }
    default:
      return state satisfies never
  }
}
