// SPDX-License-Identifier: Apache-2.0
/**
 * The idle pass: when nobody has asked for anything for a while, collect garbage once and give memory back to
 * the kernel (see `trimMemory` in host/native.ts). It costs a pause of about 20 ms, so it never runs under load.
 */
import { performance } from 'node:perf_hooks'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import type { Log } from './base/log.ts'
import type { Native } from './host/native.ts'

const QUIET_MS = 15_000
const CHECK_MS = 5_000
/** What the start has left behind goes soon: the first pass does not wait for a long quiet. */
const FIRST_MS = 1_000
const BUSY = 0.05

export interface IdlePass extends Disposable {
  /** Something happened: the quiet time begins anew. */
  readonly touch: () => void
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
  let quietMs = FIRST_MS / 2
  const check = () => {
    const use = performance.eventLoopUtilization(load)
    load = performance.eventLoopUtilization()
    if (!pending || !collect || performance.now() - touched < quietMs || use.utilization > BUSY) return
    pending = false
    quietMs = QUIET_MS
    const begin = performance.now()
    collect()
    native.trimMemory()
    options.log.debug('idle-pass', { ms: Math.round(performance.now() - begin) })
  }
  const timer = setInterval(check, CHECK_MS)
  const first = setTimeout(check, FIRST_MS)
  timer.unref()
  first.unref()
  return {
    touch() {
      touched = performance.now()
      pending = true
    },
    [Symbol.dispose]() {
      clearInterval(timer)
      clearTimeout(first)
    },
  }
}
