// SPDX-License-Identifier: Apache-2.0
/** The lines that the addon and the kernel write of processes and network interfaces, as values. Reads nothing. */
import type { LinkUsage, ProcessCounts } from './usage.ts'

/** Lines of a name and eight counters (reading.h); a line that is none is left out. */
export function linksOf(text: string): readonly LinkUsage[] {
  return text.split('\n').flatMap((line) => {
    const [name, ...words] = line.split(' ')
    if (name === undefined || words.length !== 8 || !words.every((w) => /^\d{1,20}$/.test(w))) return []
    const [rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped] = words.map(
      BigInt,
    ) as [bigint, bigint, bigint, bigint, bigint, bigint, bigint, bigint]
    return [{ name, rxBytes, rxPackets, rxErrors, rxDropped, txBytes, txPackets, txErrors, txDropped }]
  })
}

/** `processes descriptors sockets` */
export function processCounts(text: string): ProcessCounts | undefined {
  const [, processes, descriptors, sockets] = /^(\d+) (\d+) (\d+)$/.exec(text) ?? []
  if (processes === undefined || descriptors === undefined || sockets === undefined) return undefined
  return { processes: BigInt(processes), descriptors: BigInt(descriptors), sockets: BigInt(sockets) }
}

/** How many files a process may open, from /proc/PID/limits; absent if it is unlimited. */
export function softOpenFiles(limits: string): bigint | undefined {
  const value = /^Max open files\s+(\d+)/m.exec(limits)?.[1]
  return value === undefined ? undefined : BigInt(value)
}
