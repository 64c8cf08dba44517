// SPDX-License-Identifier: Apache-2.0
/** What this machine can do, probed once at start by `host/facts.ts`. Plans are made from it. */
import type { CgroupDriver } from './names.ts'
import type { OperatorSpec } from './plan/spec/operator.ts'

export type RuntimeKind = 'runc' | 'crun' | 'runsc'

/** A configured handler whose program was found. */
export interface RuntimeProgram {
  readonly handler: string
  readonly kind: RuntimeKind
  readonly path: string
}

/** What an OCI runtime has to get along with on this machine. */
export interface RuntimeGround {
  /** Controllers of a v2 tree that lies beside v1 hierarchies; empty on a machine with one version. */
  readonly hybridControllers: readonly string[]
}

export interface HandlerFacts {
  readonly name: string
  /** The `ociVersion` to write into bundles: the newest that both sides know. */
  readonly ociVersion: string
  readonly version: string
  readonly recursiveReadOnlyMounts: boolean
  readonly idmapMounts: boolean
  /** Runs containers in a user namespace that is there already. */
  readonly userNamespaces: boolean
  readonly seccomp: boolean
  readonly apparmor: boolean
  /** The cgroup below its systemd scope in which the runtime keeps a container and its limits; absent: the scope. */
  readonly scopeSubgroup?: string
  /** What a privileged container has of the node's devices; absent: all of them. */
  readonly privilegedDevices?: PrivilegedDevices
  /** Containers run in a kernel of the pod's own, which a sandbox container brings. */
  readonly sandboxed?: boolean
  /** What the operator adds to the specs of its containers. */
  readonly operator?: OperatorSpec | undefined
}

/** `allowed`: no nodes, but it may make and use any. `own`: nothing that others do not have too. */
export type PrivilegedDevices = 'allowed' | 'own'

/** The contexts that the machine's SELinux policy has for containers: `user:role:type:level`. */
export interface SelinuxFacts {
  readonly processContext: string
  readonly fileContext: string
}

export interface HostFacts {
  readonly bootId: string
  readonly kernel: string
  readonly architecture: 'amd64' | 'arm64'
  readonly cgroupVersion: 1 | 2
  readonly cgroupDriver: CgroupDriver
  /** Where each v1 controller and the v2 tree (`unified`) are mounted; both on a hybrid machine. */
  readonly cgroupMounts: Readonly<Record<string, string>>
  readonly swapAccounting: boolean
  /** Page sizes that a cgroup can limit; none without the hugetlb controller. */
  readonly hugepageSizes: readonly string[]
  readonly apparmor: boolean
  /** Absent: SELinux is off, or its policy knows no containers. */
  readonly selinux?: SelinuxFacts
  readonly seccomp: boolean
  /** The lowest oom_score_adj that this process may give: its own without CAP_SYS_RESOURCE. */
  readonly minOomScoreAdj: number
  /** The most open files that this process may allow another. */
  readonly maxOpenFiles: number
  /** Capabilities of the bounding set, `CAP_…`. */
  readonly capabilities: readonly string[]
  readonly handlers: Readonly<Record<string, HandlerFacts>>
  /** Handlers that are configured and installed but cannot work on this machine, and why. */
  readonly leftOut: Readonly<Record<string, string>>
  /** Why pods cannot have user namespaces on this machine; absent if they can. */
  readonly noUserNamespaces?: string
}
