// SPDX-License-Identifier: Apache-2.0
/**
 * The CNI specification versions that this runtime speaks and what each of them has. Pure. Does not ask
 * plugins for theirs: a plugin that cannot do the list's version says so itself (error code 1).
 */

/** Oldest first; the order is the comparison. */
export const VERSIONS = ['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'] as const
export type CniVersion = (typeof VERSIONS)[number]

export function isVersion(text: string): text is CniVersion {
  return VERSIONS.some((v) => v === text)
}

/** Is `version` the same as or newer than `than`? */
export function atLeast(version: CniVersion, than: CniVersion): boolean {
  return VERSIONS.indexOf(version) >= VERSIONS.indexOf(than)
}

/** The newest of `offered` that we speak; what we do not know is passed over. */
export function highest(offered: readonly string[]): CniVersion | undefined {
  return VERSIONS.toReversed().find((v) => offered.includes(v))
}
