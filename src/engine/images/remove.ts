// SPDX-License-Identifier: Apache-2.0
/**
 * RemoveImage: one name, any of them, removes the image with all its names. Linearizable: when it has returned,
 * no later question finds the image. Removing what is not there succeeds. An image that a container is made
 * from stays. The layers follow in the background.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { ImageId } from '../../model/reference.ts'
import { findImage } from './catalog.ts'
import type { LayerCollector } from './gc.ts'
import type { ImageStore } from './store.ts'

export interface RemoveDeps {
  readonly store: ImageStore
  readonly collector: LayerCollector
  /** Names who needs the image, for the message; undefined if nobody does. */
  readonly user: (id: ImageId) => string | undefined
}

/** Throws `wrong-state` for an image in use. @abort finishes */
export async function removeImage(scope: Scope, deps: RemoveDeps, reference: string): Promise<void> {
  await act(scope, { work: 'remove-image', name: 'record' }, () =>
    deps.store.change(scope, (catalog) => {
      const record = findImage(catalog, reference)
      if (!record) return { value: undefined }
      const user = deps.user(record.id)
      if (user !== undefined) {
        throw new Fault(
          'wrong-state',
          `image ${record.repoTags[0] ?? record.id} is in use by ${user}: remove that first`,
        )
      }
      return { drop: [record.id], value: undefined }
    }),
  )
  deps.collector.schedule()
}
