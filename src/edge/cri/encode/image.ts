// SPDX-License-Identifier: Apache-2.0
/** Images as the CRI shows them. */
import { type ImageRecord, imageUser } from '../../../model/image.ts'
import type { v1 } from '../gen/api.js'

export function image(record: ImageRecord): v1.Image.$Properties {
  const user = imageUser(record.config.user)
  return {
    id: record.id,
    repoTags: [...record.repoTags],
    repoDigests: [...record.repoDigests],
    size: record.size,
    ...(user.uid === undefined ? {} : { uid: { value: user.uid } }),
    username: user.username,
    spec: {
      image: record.repoTags[0] ?? record.repoDigests[0] ?? record.id,
      annotations: { ...record.annotations },
    },
    pinned: record.pinned,
  }
}

/** What `crictl inspecti` shows of an image. */
export function imageInfo(record: ImageRecord): string {
  return JSON.stringify({
    chainID: record.layers.at(-1)?.chainId ?? '',
    imageSpec: {
      architecture: record.architecture,
      os: record.os,
      created: record.createdAt,
      config: {
        Env: record.config.env,
        Entrypoint: record.config.entrypoint,
        Cmd: record.config.cmd,
        WorkingDir: record.config.workingDir,
        User: record.config.user,
        Labels: record.config.labels,
        StopSignal: record.config.stopSignal,
      },
      rootfs: { type: 'layers', diff_ids: record.layers.map((l) => l.diffId) },
    },
  })
}
