// SPDX-License-Identifier: Apache-2.0
/**
 * Names of images taken apart for pushing: which part is a host, and where tag and digest begin.
 */
import { describe, expect, it } from 'vitest'
import { splitName } from '../../support/image-push.ts'

describe('names', () => {
  it.each([
    ['registry.k8s.io/pause:3.9', 'registry.k8s.io', 'pause', '3.9', undefined],
    ['127.0.0.1:5000/a/b', '127.0.0.1:5000', 'a/b', undefined, undefined],
    ['localhost/wrong', 'localhost', 'wrong', undefined, undefined],
    ['library/busybox:1', undefined, 'library/busybox', '1', undefined],
    ['busybox:1', undefined, 'busybox', '1', undefined],
    ['h.test/x@sha256:00', 'h.test', 'x', undefined, 'sha256:00'],
  ])('%s', (name, host, path, tag, digest) => {
    expect(splitName(name)).toEqual({ host, path, tag, digest })
  })
})
