// SPDX-License-Identifier: Apache-2.0
/**
 * Load: the images of an archive that comes as a stream: an OCI layout or what `docker save` writes, plain or
 * compressed as a whole. A worker reads, verifies and unpacks all of it, and only then the records are made: what
 * is wrong with the archive leaves no image and no name. If a record cannot be written, those before it stay.
 */
import { act } from '../../base/act.ts'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { PullProgress } from '../../host/images/puller.ts'
import type { ImageTransfers, LoadedImage } from '../../host/images/transfers.ts'
import type { ImageRecord } from '../../model/image.ts'
import { type Digest, type ImageId, parseReference, type Reference } from '../../model/reference.ts'
import type { TrustSettings } from '../../model/trust-settings.ts'
import type { NewImage } from './pull.ts'

export interface LoadProgress extends PullProgress {
  /** Bytes of the archive that were read, as it came. */
  readonly readBytes: number
}

export interface LoadOptions {
  readonly onProgress?: (progress: LoadProgress) => void
}

export interface Loaded {
  readonly images: readonly {
    readonly id: ImageId
    /** Empty: the archive names the image nowhere; it is found by its id. */
    readonly names: readonly string[]
  }[]
  readonly warnings: readonly string[]
}

export type LoadImages = (
  scope: Scope,
  source: AsyncIterable<Buffer>,
  options?: LoadOptions,
) => Promise<Loaded>

export interface LoadDeps {
  readonly bring: <T>(
    work: (onPlan: (chainIds: readonly Digest[]) => Promise<void>) => Promise<T>,
  ) => Promise<T>
  readonly importImage: (scope: Scope, image: NewImage) => Promise<ImageRecord>
  readonly transfers: ImageTransfers
  /** The signature policy of the node; without it every archive is accepted. */
  readonly policyFor?: (namespace: string) => Promise<TrustSettings>
}

/** Faults: `corrupt`, `unsupported`, `exhausted`, naming the member or the image. @abort kills */
export function loadImages(deps: LoadDeps): LoadImages {
  return (scope, source, { onProgress } = {}) =>
    deps.bring(async (onPlan) => {
      const trust = await deps.policyFor?.('')
      let readBytes = 0
      const { images, warnings } = await act(scope, { work: 'load', name: 'worker' }, () =>
        deps.transfers.load(
          scope,
          { source, trust },
          {
            onPlan: (chainIds) => act(scope, { work: 'load', name: 'plan' }, () => onPlan(chainIds)),
            onProgress: (progress) => {
              readBytes = Math.max(readBytes, progress.archiveBytes ?? 0)
              onProgress?.({ ...progress, readBytes })
            },
          },
        ),
      )
      const loaded: { id: ImageId; names: readonly string[] }[] = []
      for (const one of images) {
        try {
          const record = await act(scope, { work: 'load', name: 'record' }, () =>
            deps.importImage(scope, { image: one.image, names: namesOf(one), annotations: {} }),
          )
          loaded.push({ id: record.id, names: one.tags })
        } catch (e) {
          throw Fault.during(`image ${one.tags[0] ?? one.image.configDigest}`, e)
        }
      }
      scope.log.info('images-loaded', { images: loaded.map((one) => one.names[0] ?? one.id) })
      return { images: loaded, warnings }
    })
}

function namesOf({ image, tags, repositories }: LoadedImage): Reference[] {
  return [...tags, ...repositories.map((name) => `${name}@${image.targetDigest}`)].map(parseReference)
}
