// SPDX-License-Identifier: Apache-2.0
/** Images as the CRI shows them. */
import { type ImageRecord, imageUser } from '../../../model/image.ts'
import { v1 } from '../gen/api.js'

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

/** A record is replaced when anything about it changes, so its bytes are made once. */
const cache = new WeakMap<ImageRecord, Uint8Array>()

/** The bytes of one `Image` message. */
export function imageBytes(record: ImageRecord): Uint8Array {
  const before = cache.get(record)
  if (before) return before
  const bytes = v1.Image.encode(image(record)).finish()
  cache.set(record, bytes)
  return bytes
}

/**
 * What `crictl inspecti` shows of an image. `rawConfig`: its configuration to the letter, if it was kept; else
 * what is known of it. Of credentials nothing is known here.
 */
export function imageInfo(record: ImageRecord, rawConfig: Buffer | undefined): string {
  return JSON.stringify({
    chainID: record.layers.at(-1)?.chainId ?? '',
    labels: record.config.labels,
    imageSpec: rawConfig === undefined ? knownSpec(record) : JSON.parse(rawConfig.toString('utf8')),
  })
}

function knownSpec({ config, layers, architecture, os, createdAt }: ImageRecord): object {
  return {
    architecture,
    os,
    created: createdAt,
    config: {
      Env: config.env,
      Entrypoint: config.entrypoint,
      Cmd: config.cmd,
      WorkingDir: config.workingDir,
      User: config.user,
      Volumes: Object.fromEntries(config.volumes.map((volume) => [volume, {}])),
      Labels: config.labels,
      StopSignal: config.stopSignal,
    },
    rootfs: { type: 'layers', diff_ids: layers.map((l) => l.diffId) },
  }
}
