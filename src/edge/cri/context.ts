// SPDX-License-Identifier: Apache-2.0
/** What every method is given beside its request. */
import type { Level } from '../../base/log.ts'
import type { Scope } from '../../base/scope.ts'
import type { Engine } from '../../engine/index.ts'

export interface Call {
  readonly scope: Scope
  readonly engine: Engine
  readonly about: About
}

/** What the edge says of the daemon itself. */
export interface About {
  readonly version: string
  /** Shown by `Status(verbose)`; no secrets are in it. */
  readonly config: Readonly<Record<string, unknown>>
  /** The least important lines that its log has; may be changed. */
  readonly log: { level: Level }
  /** What it is at now, for a person; no secrets are in it. */
  dump(): Promise<object>
}
