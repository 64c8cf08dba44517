// SPDX-License-Identifier: Apache-2.0
/** How images leave this machine and come without a registry: the verbs of the neighbouring files in one object. */
import { type DiffDeps, type DiffImages, diffOf } from './diff.ts'
import { type LoadDeps, type LoadImages, loadImages } from './load.ts'
import { type PushImage, pushImage } from './push.ts'
import { type OutDeps, type SaveImages, saveImages } from './save.ts'

export interface TransferVerbs {
  /** Writes images as one archive into a stream. @abort kills */
  readonly save: SaveImages
  /** Takes the images of an archive. @abort kills */
  readonly loadArchive: LoadImages
  /** Sends an image to a registry. @abort kills */
  readonly push: PushImage
  /** What a container, or the topmost layer of an image, changes. @abort kills */
  readonly diff: DiffImages
}

export function transferVerbs(deps: OutDeps & LoadDeps & DiffDeps): TransferVerbs {
  return { save: saveImages(deps), loadArchive: loadImages(deps), push: pushImage(deps), diff: diffOf(deps) }
}
