// SPDX-License-Identifier: Apache-2.0
/**
 * The image as containers need it: what its configuration says of the process, and where its layers are. A
 * container keeps the id and the folders; later changes of the image's names do not concern it.
 */
import { Fault } from '../../base/fault.ts'
import { clip } from '../../model/ids.ts'
import { imageRef } from '../../model/image.ts'
import type { ImageSource } from '../context.ts'
import type { Images } from './images.ts'

export function imageSource(
  images: Pick<Images, 'find' | 'lowerDirs' | 'hold' | 'expectWhole'>,
  options: { readonly ignoreVolumes: boolean } = { ignoreVolumes: false },
): ImageSource {
  return {
    resolve(reference) {
      const record = images.find(reference)
      if (!record) throw new Fault('not-found', `image "${clip(reference)}" is not here: pull it first`)
      const { config } = record
      return {
        id: record.id,
        ref: imageRef(record),
        isArtifact: record.artifactType !== undefined,
        architecture: record.architecture,
        user: config.user,
        stopSignal: config.stopSignal,
        volumes: options.ignoreVolumes ? [] : config.volumes,
        process: {
          env: config.env,
          entrypoint: config.entrypoint,
          cmd: config.cmd,
          workingDir: config.workingDir,
        },
        lowerDirs: images.lowerDirs(record),
        hold: () => images.hold(record.id),
        whole: () => images.expectWhole(record),
      }
    },
  }
}
