// SPDX-License-Identifier: Apache-2.0
/**
 * What goes on: the tasks (one a call) and the stages (acts, and what is only measured) that are open, and who
 * wants to hear of their end: metrics, traces, the watchdog, slow-call lines. Nobody listening costs a few fields
 * a stage. Names only: no request, id or secret gets in here.
 */

export interface Task {
  /** Its number in this process, as the log has it. */
  readonly id: number
  /** The RPC. */
  readonly name: string
  /** On the clock of `performance.now()`. */
  readonly beganMs: number
  /** The W3C trace context that the caller sent. */
  readonly traceparent: string | undefined
  /** In the order of their begin; the first `STAGES` of them. */
  readonly stages: Stage[]
}

export interface Stage {
  readonly work: string
  readonly name: string
  readonly task: Task | undefined
  readonly beganMs: number
  /** Undefined while it runs. */
  endedMs: number | undefined
  error: unknown
}

export interface Observer {
  taskBegan?(task: Task): void
  /** `code` is the gRPC status. */
  taskEnded?(task: Task, code: number): void
  stageBegan?(stage: Stage): void
  stageEnded?(stage: Stage): void
}

/** A task remembers so many stages: a sweep of the whole node has no end of them. */
const STAGES = 64

let counter = 0
const observers = new Set<Observer>()
const tasks = new Set<Task>()
const stages = new Set<Stage>()

/** What is open now. */
export const open: { readonly tasks: ReadonlySet<Task>; readonly stages: ReadonlySet<Stage> } = {
  tasks,
  stages,
}

/** Tells `observer` of every end from now on. It must not throw. */
export function observe(observer: Observer): Disposable {
  observers.add(observer)
  return { [Symbol.dispose]: () => observers.delete(observer) }
}

/** Opens a task, which `endTask` must close. */
export function beginTask(name: string, traceparent?: string): Task {
  const task = { id: ++counter, name, beganMs: performance.now(), traceparent, stages: [] }
  tasks.add(task)
  for (const o of observers) o.taskBegan?.(task)
  return task
}

/** Once a task. */
export function endTask(task: Task, code: number): void {
  tasks.delete(task)
  for (const o of observers) o.taskEnded?.(task, code)
}

/** A stage that somebody else has carried out and measured. */
export function addStage(
  task: Task | undefined,
  at: { readonly work: string; readonly name: string; readonly ms: number },
): void {
  const endedMs = performance.now()
  const { work, name, ms } = at
  const stage: Stage = { work, name, task, beganMs: endedMs - ms, endedMs, error: undefined }
  if (task && task.stages.length < STAGES) task.stages.push(stage)
  for (const o of observers) o.stageEnded?.(stage)
}

/** Runs `step` as a stage of `task`: for what is worth measuring and is no act. */
export async function measured<T>(
  task: Task | undefined,
  at: { readonly work: string; readonly name: string },
  step: () => Promise<T>,
): Promise<T> {
  const stage: Stage = {
    work: at.work,
    name: at.name,
    task,
    beganMs: performance.now(),
    endedMs: undefined,
    error: undefined,
  }
  stages.add(stage)
  if (task && task.stages.length < STAGES) task.stages.push(stage)
  for (const o of observers) o.stageBegan?.(stage)
  try {
    return await step()
  } catch (e) {
    stage.error = e
    throw e
  } finally {
    stage.endedMs = performance.now()
    stages.delete(stage)
    for (const o of observers) o.stageEnded?.(stage)
  }
}
