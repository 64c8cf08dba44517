// SPDX-License-Identifier: Apache-2.0
/**
 * Diff: what a container has written over its image, or what an image's topmost layer changes. The folders are
 * walked in a worker, never in the daemon. Changes nothing.
 */
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { DiffEntry, ImageTransfers } from '../../host/images/transfers.ts'
import { clip } from '../../model/ids.ts'
import type { ImageRecord } from '../../model/image.ts'
import type { ImageId } from '../../model/reference.ts'

export interface Diff {
  /** Sorted by path. */
  readonly entries: readonly DiffEntry[]
  /** There are more than are told. */
  readonly truncated: boolean
}

/** A container's id, or an image's name or id. */
export type DiffTarget = { readonly container: string } | { readonly image: string }

export type DiffImages = (scope: Scope, target: DiffTarget) => Promise<Diff>

export interface DiffDeps {
  readonly find: (reference: string) => ImageRecord | undefined
  readonly byId: (id: string) => ImageRecord | undefined
  readonly lowerDirs: (record: ImageRecord) => readonly string[]
  /** The writable layer of a container and the image below it; undefined if there is no such container. */
  readonly writableOf: (container: string) => { readonly upper: string; readonly imageId: string } | undefined
  readonly hold: (id: ImageId) => Disposable
  readonly transfers: ImageTransfers
}

/** `not-found` for what is not here. An image of one layer has all of it added. @abort kills */
export function diffOf(deps: DiffDeps): DiffImages {
  return async (scope, target) => {
    const { record, above } =
      'image' in target ? ofImage(deps, target.image) : ofContainer(deps, target.container)
    using _ = deps.hold(record.id)
    const [upper, ...lower] = [...above, ...deps.lowerDirs(record)]
    if (upper === undefined) return { entries: [], truncated: false }
    return deps.transfers.diff(scope, { upper, lower })
  }
}

function ofImage(deps: DiffDeps, name: string) {
  const record = deps.find(name)
  if (!record) throw new Fault('not-found', `image "${clip(name)}" is not here`)
  return { record, above: [] }
}

function ofContainer(deps: DiffDeps, id: string) {
  const found = deps.writableOf(id)
  const record = found && deps.byId(found.imageId)
  if (!found || !record)
    throw new Fault('not-found', `container "${clip(id)}" is not here, or its image is not`)
  return { record, above: [found.upper] }
}
