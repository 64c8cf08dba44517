// SPDX-License-Identifier: Apache-2.0
/**
 * The idle pass: when there was no work for a while and the event loop is nearly idle, collect garbage once and
 * give memory back to the kernel (see `trimMemory` in host/native.ts). It costs a pause of 20 to 50 ms, so it
 * never runs under load, and at most twice a minute.
 */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Log } from './base/log.ts'
import type { Native } from './host/native.ts'

const PACE = { quietMs: 15_000, everyMs: 5_000, apartMs: 30_000 } as const
/** What the start has left behind goes soon: the first pass does not wait for a long quiet. */
const START_PACE = { quietMs: 500, everyMs: 500, apartMs: 0 } as const
const BUSY = 0.05

interface Pace {
  readonly quietMs: number
  readonly everyMs: number
  /** From one pass to the next. */
  readonly apartMs: number
}

export interface IdlePass extends Disposable {
  /**
   * Something happened. Work begins the quiet time anew; what only asks does not, for a kubelet asks every second.
   */
  readonly touch: (what: { readonly work: boolean }) => void
}

function collector(): (() => void) | undefined {
  setFlagsFromString('--expose-gc')
  const gc: unknown = runInNewContext('gc')
  return typeof gc === 'function'
    ? () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' })
    : undefined
}

export function idlePass(native: Native, options: { enabled: boolean; log: Log }): IdlePass {
  const collect = options.enabled ? collector() : undefined
  let touched = performance.now()
  let pending = true
  let load = performance.eventLoopUtilization()
  let pace: Pace = START_PACE
  let passed = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  const look = () => {
    const use = performance.eventLoopUtilization(load)
    load = performance.eventLoopUtilization()
    const now = performance.now()
    const quiet = now - touched >= pace.quietMs && now - passed >= pace.apartMs
    if (pending && quiet && use.utilization <= BUSY) pass()
    next()
  }
  const pass = () => {
    pending = false
    pace = PACE
    const begin = performance.now()
    passed = begin
    collect?.()
    native.trimMemory()
    options.log.debug('idle-pass', { ms: Math.round(performance.now() - begin) })
  }
  const next = () => {
    timer = setTimeout(look, pace.everyMs)
    timer.unref()
  }
  if (collect) next()
  return {
    touch({ work }) {
      if (work) touched = performance.now()
      pending = true
    },
    [Symbol.dispose]: () => clearTimeout(timer),
  }
}
