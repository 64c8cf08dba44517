// SPDX-License-Identifier: Apache-2.0
/** LinuxContainerResources, decoded. Zero and the empty string mean "not said", as in the CRI. */

export interface Resources {
  readonly cpuPeriod: bigint
  readonly cpuQuota: bigint
  readonly cpuShares: bigint
  readonly memoryLimitBytes: bigint
  readonly memorySwapLimitBytes: bigint
  readonly oomScoreAdj: number
  readonly cpusetCpus: string
  readonly cpusetMems: string
  readonly hugepages: readonly { readonly pageSize: string; readonly limitBytes: bigint }[]
  readonly unified: Readonly<Record<string, string>>
}

export const noResources: Resources = {
  cpuPeriod: 0n,
  cpuQuota: 0n,
  cpuShares: 0n,
  memoryLimitBytes: 0n,
  memorySwapLimitBytes: 0n,
  oomScoreAdj: 0,
  cpusetCpus: '',
  cpusetMems: '',
  hugepages: [],
  unified: {},
}

/** `now` with each field that `change` says; the rest stays. The CRI's zeros mean "leave as it is". */
export function mergeResources(now: Resources, change: Resources): Resources {
  return {
    cpuPeriod: change.cpuPeriod || now.cpuPeriod,
    cpuQuota: change.cpuQuota || now.cpuQuota,
    cpuShares: change.cpuShares || now.cpuShares,
    memoryLimitBytes: change.memoryLimitBytes || now.memoryLimitBytes,
    memorySwapLimitBytes: change.memorySwapLimitBytes || now.memorySwapLimitBytes,
    oomScoreAdj: now.oomScoreAdj,
    cpusetCpus: change.cpusetCpus || now.cpusetCpus,
    cpusetMems: change.cpusetMems || now.cpusetMems,
    hugepages: change.hugepages.length > 0 ? change.hugepages : now.hugepages,
    unified: { ...now.unified, ...change.unified },
  }
}
