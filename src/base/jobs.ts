// SPDX-License-Identifier: Apache-2.0
/** What the daemon is at now, as a person wants to read it: each call, and each stage that belongs to none, with its age. */
import { open, type Stage, type Task } from './observer.ts'

export interface Job {
  /** Tells one job from another. */
  readonly of: Task | Stage
  /** Empty: the daemon's own work. */
  readonly rpc: string
  /** The number of the call in the log; 0: the daemon's own work. */
  readonly call: number
  readonly ageMs: number
  /** Those that run now, as `work:act`. */
  readonly stages: readonly { readonly stage: string; readonly ageMs: number }[]
}

/** The call that is open for as long as its client likes. */
const ENDLESS = 'GetContainerEvents'

/** Oldest first. Calls that are meant to have no end are left out. */
export function jobs(now = performance.now()): Job[] {
  const shown = (s: Stage) => ({ stage: `${s.work}:${s.name}`, ageMs: Math.round(now - s.beganMs) })
  const out: Job[] = []
  for (const task of open.tasks) {
    if (task.name === ENDLESS) continue
    const stages = [...open.stages].filter((s) => s.task === task).map(shown)
    out.push({
      of: task,
      rpc: task.name,
      call: task.id,
      ageMs: Math.round(now - task.beganMs),
      stages,
    })
  }
  for (const stage of open.stages)
    if (stage.task === undefined || !open.tasks.has(stage.task)) {
      const one = shown(stage)
      out.push({ of: stage, rpc: '', call: 0, ageMs: one.ageMs, stages: [one] })
    }
  return out.sort((a, b) => b.ageMs - a.ageMs)
}
