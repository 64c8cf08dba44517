// SPDX-License-Identifier: Apache-2.0
/**
 * RemoveImage: one name, any of them, removes the image with all its names. Linearizable: when it has returned,
 * no later question finds the image. Removing what is not there succeeds. One write makes it so; the layers
 * follow in the background, also after a crash, and those of an image that a container is made from when the
 * last such container has gone.
 */
import { act } from '../../base/act.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageRecord } from '../../model/image.ts'
import { findImage } from './catalog.ts'
import type { LayerCollector } from './gc.ts'
import type { Change, ImageStore } from './store.ts'

export interface RemoveDeps {
  readonly store: ImageStore
  readonly collector: LayerCollector
  readonly nowNs: () => bigint
}

/** Success also if the image is in use, pinned or not there. @abort finishes */
export async function removeImage(scope: Scope, deps: RemoveDeps, reference: string): Promise<void> {
  await act(scope, { work: 'remove-image', name: 'record' }, () =>
    deps.store.change(scope, (catalog) => {
      const record = findImage(catalog, reference)
      return record ? { ...hiddenRemoved(record, deps.nowNs()), value: undefined } : { value: undefined }
    }),
  )
  deps.collector.schedule()
}

/** The change that removes an image: hidden, so that the collector knows whose layers may go at once. */
export function hiddenRemoved(record: ImageRecord, atNs: bigint): Change {
  return { put: [{ ...record, repoTags: [], repoDigests: [], hidden: { why: 'removed', atNs } }] }
}
