// SPDX-License-Identifier: Apache-2.0
/**
 * Settler: makes what pulls have brought durable a moment after they were answered, many with one syncfs. A power
 * failure before costs the next pull what it had brought, nothing else: layers and records that were not synced
 * are not trusted then. Knows nothing of images.
 */
import { asFault } from '../../base/fault.ts'
import type { Log } from '../../base/log.ts'
import type { LayerStore } from '../../host/images/layers.ts'
import { PULL } from '../../model/pull-policy.ts'
import type { Digest } from '../../model/reference.ts'

export class Settler {
  readonly #layers: Pick<LayerStore, 'settle'>
  readonly #log: Log
  #timer: NodeJS.Timeout | undefined
  #running: Promise<void> | undefined
  /** When the first thing came that is not durable, ms of `performance.now`. */
  #sinceMs: number | undefined
  #brought = new Set<Digest>()

  constructor(layers: Pick<LayerStore, 'settle'>, log: Log) {
    this.#layers = layers
    this.#log = log
  }

  /** These were brought: syncs when nothing more has come for a moment, and not much later if more does. */
  soon(chainIds: readonly Digest[]): void {
    for (const id of chainIds) this.#brought.add(id)
    this.#later()
  }

  #later(): void {
    const nowMs = performance.now()
    this.#sinceMs ??= nowMs
    const leftMs = this.#sinceMs + PULL.settleWithinMs - nowMs
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => void this.now(), Math.max(0, Math.min(PULL.settleAfterMs, leftMs))).unref()
  }

  /** Syncs now what was brought and waits for it. Never throws; a failure is logged and tried again later. @abort finishes */
  async now(): Promise<void> {
    clearTimeout(this.#timer)
    while (this.#running) await this.#running
    if (this.#sinceMs === undefined) return
    this.#sinceMs = undefined
    const brought = [...this.#brought]
    this.#brought.clear()
    this.#running = this.#layers
      .settle(brought)
      .catch((e: unknown) => {
        this.#log.warn('layers-not-synced', { error: asFault(e).message })
        for (const id of brought) this.#brought.add(id)
        this.#sinceMs = performance.now()
        this.#timer = setTimeout(() => void this.now(), PULL.settleWithinMs).unref()
      })
      .finally(() => {
        this.#running = undefined
      })
    await this.#running
  }

  /** As `now`, for the last time. @abort finishes */
  async end(): Promise<void> {
    await this.now()
    clearTimeout(this.#timer)
  }
}
