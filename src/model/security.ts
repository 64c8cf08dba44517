// SPDX-License-Identifier: Apache-2.0
/** What a request says of users, capabilities, profiles and labels, decoded; no default is hidden here. */

/** Bit order of the kernel's capability sets (include/uapi/linux/capability.h). */
export const CAPABILITIES: readonly string[] = (
  'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE ' +
  'NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN ' +
  'SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE ' +
  'MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE'
)
  .split(' ')
  .map((c) => `CAP_${c}`)

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

/** Parts of an SELinux context; an empty one is taken from the machine's own for containers. */
export interface SelinuxOptions {
  readonly user: string
  readonly role: string
  readonly type: string
  readonly level: string
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
