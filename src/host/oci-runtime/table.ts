// SPDX-License-Identifier: Apache-2.0
/** What differs between OCI runtimes, as one table. Nothing else in the project asks which runtime it talks to. */

import type { RuntimeKind } from '../../model/facts.ts'

export interface RuntimeTraits {
  /** Newest `ociVersion` to write for a runtime that has no `features` command. */
  readonly oldestSafeOciVersion: string
  /** Has a `features` command at all; a failure of it falls back to the safe version. */
  readonly features: boolean
  readonly idmapMounts: (features: RuntimeFeatures) => boolean
  /** Joins a user namespace by its path. */
  readonly userNamespaces: boolean
  /** Makes no container where a cgroup v2 tree with controllers in it lies beside v1 hierarchies. */
  readonly refusesHybridCgroups: boolean
  /**
   * The cgroup below a systemd scope in which it keeps a container (cgroup v2). crun 1.8 tells systemd of few limits;
   * in the scope itself the others would go with the next daemon-reload.
   */
  readonly scopeSubgroup?: string
  /**
   * Its containers run in a kernel of the pod's own: the pod has a sandbox container, `gantry-keeper` stands for each
   * other one, and its state is a few files whose names begin with the container's.
   */
  readonly sandboxed: boolean
  /** Changes the resources of a container that runs. */
  readonly updates: boolean
  /** Words by which its log says that the program to run is missing or may not be executed. */
  readonly badCommand: RegExp
  /** Words by which it says that it knows no such container. */
  readonly unknownContainer: RegExp
}

/** The part of `features` output (runtime-spec features.md) that decides something here. */
export interface RuntimeFeatures {
  readonly ociVersionMax?: string
  readonly mountOptions?: readonly string[]
  readonly seccomp: boolean
  readonly apparmor: boolean
  readonly idmap: boolean
}

/** What stands for SIGKILL to a keeper, which must hear of it (native/keeper/keeper.c). */
export const KEEPER_END_SIGNAL = 64

const BAD_COMMAND =
  /executable file .*not found|exec: ".*": (stat .*: )?(no such file or directory|permission denied|is a directory|not a directory)|exec .*: (no such file or directory|permission denied|exec format error)|exec format error|executable file not found|error executing|open executable|cannot exec|chdir to cwd|failed to load .*: (no such file or directory|permission denied|exec format error)|failed to find initial working directory|error finding executable/i

export const RUNTIMES: Readonly<Record<RuntimeKind, RuntimeTraits>> = {
  runc: {
    oldestSafeOciVersion: '1.0.2',
    features: true,
    idmapMounts: (f) => f.idmap,
    userNamespaces: true,
    refusesHybridCgroups: false,
    sandboxed: false,
    updates: true,
    badCommand: BAD_COMMAND,
    unknownContainer: /container does not exist|does not exist/i,
  },
  crun: {
    oldestSafeOciVersion: '1.0.2',
    features: true,
    idmapMounts: (f) => f.idmap,
    userNamespaces: true,
    refusesHybridCgroups: true,
    scopeSubgroup: 'container',
    sandboxed: false,
    updates: true,
    badCommand: BAD_COMMAND,
    unknownContainer:
      /does not exist|(error opening file `[^`]*\/status`|cannot open directory '[^']*'): No such file or directory/i,
  },
  runsc: {
    oldestSafeOciVersion: '1.0.2',
    features: false,
    idmapMounts: () => false,
    userNamespaces: false,
    refusesHybridCgroups: false,
    sandboxed: true,
    updates: false,
    badCommand: BAD_COMMAND,
    unknownContainer: /does not exist|file does not exist/i,
  },
}
