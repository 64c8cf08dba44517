// SPDX-License-Identifier: Apache-2.0
/** The part of the OCI runtime specification that gantry writes, as types (runtime-spec config.md, config-linux.md). */

export interface OciMount {
  readonly destination: string
  readonly type?: string
  readonly source?: string
  readonly options?: readonly string[]
}

export interface OciDevice {
  readonly path: string
  readonly type: string
  readonly major: number
  readonly minor: number
  readonly fileMode?: number
  readonly uid?: number
  readonly gid?: number
}

export interface OciDeviceRule {
  readonly allow: boolean
  readonly type?: string
  readonly major?: number
  readonly minor?: number
  readonly access?: string
}

export interface OciProcess {
  readonly terminal?: boolean
  readonly user: { readonly uid: number; readonly gid: number; readonly additionalGids?: readonly number[] }
  readonly args: readonly string[]
  readonly env: readonly string[]
  readonly cwd: string
  readonly capabilities?: Readonly<
    Record<'bounding' | 'effective' | 'permitted' | 'inheritable' | 'ambient', readonly string[]>
  >
  readonly noNewPrivileges: boolean
  readonly oomScoreAdj?: number
  readonly apparmorProfile?: string
  readonly rlimits?: readonly { readonly type: string; readonly soft: number; readonly hard: number }[]
  readonly selinuxLabel?: string
}

export interface OciSeccomp {
  readonly defaultAction: string
  readonly defaultErrnoRet?: number
  readonly architectures?: readonly string[]
  readonly syscalls: readonly {
    readonly names: readonly string[]
    readonly action: string
    readonly errnoRet?: number
    readonly args?: readonly { index: number; value: number; valueTwo?: number; op: string }[]
  }[]
}

export interface OciResources {
  readonly devices?: readonly OciDeviceRule[]
  readonly memory?: Readonly<Record<string, number>>
  readonly cpu?: Readonly<Record<string, number | string>>
  readonly pids?: { readonly limit: number }
  readonly hugepageLimits?: readonly { readonly pageSize: string; readonly limit: number }[]
  readonly unified?: Readonly<Record<string, string>>
}

export interface OciIdMap {
  readonly containerID: number
  readonly hostID: number
  readonly size: number
}

export interface OciIdMaps {
  readonly uidMappings: readonly OciIdMap[]
  readonly gidMappings: readonly OciIdMap[]
}

export interface OciHook {
  readonly path: string
  readonly args?: readonly string[]
  readonly env?: readonly string[]
  readonly timeout?: number
}

/** By their kind: prestart, createRuntime, … */
export type OciHooks = Readonly<Partial<Record<string, readonly OciHook[]>>>

export interface OciSpec {
  readonly ociVersion: string
  readonly process: OciProcess
  readonly root: { readonly path: string; readonly readonly: boolean }
  readonly hostname?: string
  readonly mounts: readonly OciMount[]
  readonly annotations?: Readonly<Record<string, string>>
  readonly hooks?: OciHooks
  readonly linux: Partial<OciIdMaps> & {
    readonly namespaces: readonly { readonly type: string; readonly path?: string }[]
    readonly resources: OciResources
    readonly cgroupsPath: string
    readonly devices?: readonly OciDevice[]
    readonly seccomp?: OciSeccomp
    readonly mountLabel?: string
    readonly rootfsPropagation?: string
    readonly maskedPaths?: readonly string[]
    readonly readonlyPaths?: readonly string[]
  }
}
