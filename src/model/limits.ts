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
  devices: 512,
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
} as const
