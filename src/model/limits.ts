// SPDX-License-Identifier: Apache-2.0
/**
 * Every limit that gantry puts on what clients send, as numbers in one place. Decode refuses what is above;
 * nothing below decode checks again.
 */
export const LIMITS = {
  /** Largest gRPC message, bytes. More is RESOURCE_EXHAUSTED. */
  messageBytes: 80 * 1024 * 1024,
  /** A name (pod, namespace, uid, container), bytes. */
  nameBytes: 253,
  /** A path in a request, bytes (PATH_MAX without the NUL). */
  pathBytes: 4095,
  /** Linux host names (HOST_NAME_MAX). */
  hostnameBytes: 64,
  /** All labels, or all annotations, of one object, bytes: four times what Kubernetes lets through. */
  mapBytes: 1024 * 1024,
  /** Arguments and environment of one process together, bytes (the kernel takes 2 MiB by default). */
  argsBytes: 2 * 1024 * 1024,
  mounts: 1024,
  mountOptions: 16,
  devices: 512,
  /** Of one folder of CDI specs, and of one spec, bytes. */
  cdiFiles: 1024,
  cdiFileBytes: 512 * 1024,
  /** Volumes that one image declares. */
  declaredVolumes: 256,
  /** Annotations that go to the OCI runtime. */
  passedAnnotations: 1024,
  /** Of all folders of one handler, and of one file, bytes. */
  hookFiles: 256,
  hookFileBytes: 64 * 1024,
  portMappings: 1024,
  sysctls: 256,
  /** stdout and stderr of ExecSync, bytes each; the rest is discarded (CRI). */
  execOutputBytes: 16 * 1024 * 1024,
  /** passwd, group, seccomp profiles and other small files that are read whole, bytes. */
  smallFileBytes: 8 * 1024 * 1024,
  /** Reference of an image, bytes. */
  referenceBytes: 4096,
  /** A supplied user or group name, bytes. */
  userNameBytes: 256,
  /** Messages that wait for a slow reader of a stream without end; one more ends the stream. */
  liveQueue: 1000,
} as const

/** What a layer may be, at most; more is refused by name, and nothing of it is kept. Bytes, counts. */
export interface UnpackLimits {
  /** Of the tar stream of one layer, and of any one file in it. */
  readonly layerBytes: number
  /** Headers of one layer, of any type. */
  readonly entries: number
  /** Tar bytes per blob byte, counted beyond the first GiB; 0: any. */
  readonly ratio: number
  /** Device nodes of a layer: made, as peers do, or a reason to refuse the layer. */
  readonly devices: 'keep' | 'refuse'
}

/** The defaults, which `gantry-unpack` has too. Its other bounds, which nobody needs to move, are in unpack.h. */
export const UNPACK_LIMITS: UnpackLimits = {
  layerBytes: 128 * 1024 ** 3,
  entries: 2_000_000,
  ratio: 400,
  devices: 'keep',
}

/** What an image archive may be, at most, before a byte of it is believed. */
export const ARCHIVE_LIMITS = {
  /** All of it once inflated, bytes: what is kept in a temporary file while it is read. */
  bytes: 64 * 1024 ** 3,
  /** Files, folders and links in it. An image of 127 layers in the oldest form has 511. */
  members: 50_000,
  /** Images in one archive. */
  images: 500,
  /** Inflated bytes per compressed byte, counted beyond the first GiB. */
  ratio: 400,
  /** Links from one member to another, in a row. */
  links: 8,
  /** index.json, manifest.json and other documents, bytes. */
  documentBytes: 4 * 1024 * 1024,
} as const

/** What is read to decide whether an image is trusted, at most. */
export const TRUST = {
  /** A policy, or a file of registries.d, bytes. */
  policyBytes: 1024 * 1024,
  /** A file of keys or certificates that a policy names, bytes. */
  keyFileBytes: 1024 * 1024,
  /** One signature, or the payload of one, bytes. */
  signatureBytes: 1024 * 1024,
  /** Signatures that are looked at, of one kind for one manifest. */
  signatures: 128,
  /** Certificates in one PEM text. */
  certificates: 32,
  /** Authorities between a signer and a root, and certificates tried to find a way. */
  chainLength: 4,
  chainSteps: 64,
  /** Shortest RSA key of a signer, bits. */
  rsaBits: 2048,
  /** Longest run of gpg, milliseconds. */
  gpgMs: 10_000,
} as const
