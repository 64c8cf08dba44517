// SPDX-License-Identifier: Apache-2.0
/** stats: statistics as suites ask for them, over a client of the CRI. */
import type { v1 } from '../../src/edge/cri/gen/api.js'
import type { CriClient } from './cri-client.ts'

export const containerStats = async (client: CriClient, containerId: string) =>
  (await client.call('ContainerStats', { containerId })).stats ?? {}
export const listedStats = async (client: CriClient, filter: object = {}) =>
  (await client.call('ListContainerStats', { filter })).stats ?? []
export const idsOf = (all: readonly v1.ContainerStats.$Properties[]) => all.map((one) => one.attributes?.id)
/** -1 if there is none. */
export const amountOf = (of: v1.UInt64Value.$Properties | null | undefined) => BigInt(of?.value ?? -1n)
