// SPDX-License-Identifier: Apache-2.0
/** What a request says of users, capabilities and profiles, decoded; no default is hidden here. */

export type SecurityProfile =
  | { readonly type: 'unset' }
  | { readonly type: 'runtime-default' }
  | { readonly type: 'unconfined' }
  | { readonly type: 'localhost'; readonly ref: string }

export interface CapabilityChange {
  readonly add: readonly string[]
  readonly drop: readonly string[]
  readonly addAmbient: readonly string[]
}

export interface RequestedUser {
  readonly uid: bigint | undefined
  readonly gid: bigint | undefined
  readonly name: string
  readonly supplementalGroups: readonly bigint[]
  readonly groupsPolicy: 'merge' | 'strict'
}

/** The identity a process gets, numbers only. */
export interface ProcessUser {
  readonly uid: number
  readonly gid: number
  readonly additionalGids: readonly number[]
  readonly home: string
}
