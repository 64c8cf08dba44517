// SPDX-License-Identifier: Apache-2.0
/**
 * What `gantry doctor` reads of a machine, as plain values, and what it says of it. Reading is machine.ts and
 * network.ts, judging is judge.ts and judge-network.ts: the tests judge machines that nobody has.
 */

/** Something was tried: it worked, did not (why), or could not be tried (why not). */
export type Tried =
  | { readonly is: 'works' }
  | { readonly is: 'fails'; readonly why: string }
  | { readonly is: 'untried'; readonly why: string }

export interface RuntimeView {
  readonly handler: string
  readonly kind: string
  readonly isDefault: boolean
  /** An operator wrote it into the configuration. */
  readonly explicit: boolean
  /** Undefined: the program is not there. */
  readonly path: string | undefined
  /** First line of `--version`; undefined: it cannot be run. */
  readonly version: string | undefined
  readonly failure: string
  /** It makes no container on a machine with hybrid cgroups, and this is one. */
  readonly refusesMachine: boolean
  readonly ociVersion: string
  readonly seccomp: boolean
}

export interface SpaceView {
  readonly path: string
  readonly freeBytes: bigint
  readonly totalBytes: bigint
  /** 0: the file system does not count them. */
  readonly freeInodes: bigint
  readonly totalInodes: bigint
}

export interface MachineView {
  readonly platform: string
  readonly uid: number
  readonly kernel: string
  /** Undefined: the addon could not be loaded, or this is not Linux. */
  readonly kernelCalls:
    | {
        readonly newMountApi: boolean
        readonly mountSetattr: boolean
        readonly openat2: boolean
        readonly pidfd: boolean
      }
    | undefined
  readonly cgroup: {
    /** 0: none is mounted. */
    readonly version: 0 | 1 | 2
    /** Controllers that containers can use. */
    readonly controllers: readonly string[]
    readonly writable: boolean
    /** Controllers of the v2 tree of a machine that has v1, too; undefined: there is no such tree. */
    readonly hybrid: readonly string[] | undefined
  }
  readonly overlay: Tried
  readonly namespaces: Tried
  /** Kinds in /proc/self/ns. */
  readonly namespaceKinds: readonly string[]
  readonly maxUserNamespaces: number
  readonly seccomp: boolean
  readonly apparmor: boolean
  /** apparmor_parser is installed. */
  readonly apparmorParser: boolean
  /** `no-contexts`: enforcing, with a policy that knows no containers. */
  readonly selinux: 'off' | 'permissive' | 'enforcing' | 'no-contexts'
  readonly capabilities: readonly string[]
  readonly runtimes: readonly RuntimeView[]
  readonly space: readonly SpaceView[]
  readonly inotify: { readonly instances: number; readonly watches: number }
  /** Parts of gantry that are missing or cannot be executed, with why. */
  readonly parts: readonly { readonly name: string; readonly trouble: string | undefined }[]
  /** What is wrong with the configuration. */
  readonly configProblems: readonly string[]
  readonly configFiles: readonly string[]
  readonly otherRuntimes: readonly { readonly name: string; readonly socket: string }[]
}

export interface NetworkView {
  readonly confDir: string
  readonly binDirs: readonly string[]
  /** Name of the network, undefined: there is no usable configuration. */
  readonly name: string | undefined
  readonly from: string
  readonly builtIn: boolean
  readonly problems: readonly { readonly file: string; readonly why: string }[]
  /** Programs that the configuration names. */
  readonly plugins: readonly string[]
  readonly missing: readonly string[]
  /** A plugin will masquerade or map ports by iptables. */
  readonly needsIptables: boolean
  readonly iptables: boolean
  readonly nft: boolean
  readonly ipForward: boolean
  /** A bridge that is a gateway: its plugin turns forwarding on by itself. */
  readonly gatewayBridge: boolean
  /** Undefined: br_netfilter is not loaded. */
  readonly bridgeNfCall: boolean | undefined
}

export type Verdict = 'ok' | 'warning' | 'problem'

export interface Check {
  readonly name: string
  readonly verdict: Verdict
  /** One sentence. */
  readonly text: string
  /** What to do about it; empty for what is ok. */
  readonly remedy: string
}

export const ok = (name: string, text: string): Check => ({ name, verdict: 'ok', text, remedy: '' })
export const warning = (name: string, text: string, remedy: string): Check => ({
  name,
  verdict: 'warning',
  text,
  remedy,
})
export const problem = (name: string, text: string, remedy: string): Check => ({
  name,
  verdict: 'problem',
  text,
  remedy,
})
