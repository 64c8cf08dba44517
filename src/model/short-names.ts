// SPDX-License-Identifier: Apache-2.0
/**
 * Short names: which images a name without a registry may mean. The same rules answer for a pull and for a
 * look-up, so an image is found under the name that it was pulled by. Pure; the files are read by the host.
 */
import { inRegistry, parseReference, type Reference } from './reference.ts'

export interface ShortNames {
  /** Repository as it is written (`busybox`) → repository with its registry (`reg.io/team/busybox`). */
  readonly aliases: ReadonlyMap<string, string>
  /** Registries to look in, in order. Undefined: nobody has said, and Docker Hub it is. */
  readonly search: readonly string[] | undefined
}

/** Without any configuration: Docker Hub. */
export const DOCKER_HUB_ONLY: ShortNames = { aliases: new Map(), search: undefined }

/**
 * What `ref` may mean, best first: itself if it names its registry, else its alias alone, else one reference for
 * each registry of the search list (none for an empty list). None of the results is short.
 */
export function meaningsOf(ref: Reference, names: ShortNames): Reference[] {
  const { short, ...full } = ref
  if (short === undefined) return [full]
  const alias = names.aliases.get(short)
  if (alias !== undefined) {
    const { domain, path } = parseReference(alias)
    return [{ ...full, domain, path }]
  }
  if (names.search === undefined) return [full]
  return names.search.map((registry) => ({ ...full, ...inRegistry(registry, short) }))
}
