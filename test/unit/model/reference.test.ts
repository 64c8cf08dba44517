// SPDX-License-Identifier: Apache-2.0
/** Image references: the normal form, what is refused and why, and what may stand for an id. */
import { describe, expect, test } from 'vitest'
import { Fault } from '../../../src/base/fault.ts'
import {
  apiHostOf,
  digestName,
  formatReference,
  imageIdPrefix,
  parseDigest,
  parseReference,
  tagName,
  writtenReference,
} from '../../../src/model/reference.ts'

const HEX = '0123456789abcdef'.repeat(4)
const DIGEST = `sha256:${HEX}`

describe('the normal form', () => {
  test.each([
    ['busybox', 'docker.io/library/busybox:latest'],
    ['busybox:1.37', 'docker.io/library/busybox:1.37'],
    ['library/busybox', 'docker.io/library/busybox:latest'],
    ['user/app', 'docker.io/user/app:latest'],
    ['docker.io/busybox', 'docker.io/library/busybox:latest'],
    ['index.docker.io/user/app', 'docker.io/user/app:latest'],
    ['localhost/wrong', 'localhost/wrong:latest'],
    ['localhost:5000/a', 'localhost:5000/a:latest'],
    ['127.0.0.1:5000/a/b:t', '127.0.0.1:5000/a/b:t'],
    ['[::1]:5000/a', '[::1]:5000/a:latest'],
    ['[fe80::1]/a', '[fe80::1]/a:latest'],
    ['registry.k8s.io/e2e-test-images/busybox:1.29-2', 'registry.k8s.io/e2e-test-images/busybox:1.29-2'],
    ['REGISTRY/app', 'REGISTRY/app:latest'],
    ['reg.io/a__b/c--d/e.f', 'reg.io/a__b/c--d/e.f:latest'],
    [`reg.io/a@${DIGEST}`, `reg.io/a@${DIGEST}`],
    [`reg.io/a:tag@${DIGEST}`, `reg.io/a:tag@${DIGEST}`],
    [`busybox@${DIGEST}`, `docker.io/library/busybox@${DIGEST}`],
    ['a:_T.x-1', 'docker.io/library/a:_T.x-1'],
    [`reg.io/${'a'.repeat(255)}`, `reg.io/${'a'.repeat(255)}:latest`],
    [`a:${'t'.repeat(128)}`, `docker.io/library/a:${'t'.repeat(128)}`],
  ])('%s is %s', (text, normal) => {
    expect(formatReference(parseReference(text))).toBe(normal)
  })
})

describe('a short name', () => {
  test.each([
    ['busybox', 'busybox', 'busybox:latest'],
    ['library/busybox:1', 'library/busybox', 'library/busybox:1'],
    [`team/app@${DIGEST}`, 'team/app', `team/app@${DIGEST}`],
    ['docker.io/busybox', undefined, 'docker.io/library/busybox:latest'],
    ['localhost/a', undefined, 'localhost/a:latest'],
    ['reg:5000/a', undefined, 'reg:5000/a:latest'],
  ])('%s: %s', (text, short, written) => {
    expect(parseReference(text).short).toBe(short)
    expect(writtenReference(parseReference(text))).toBe(written)
  })
})

describe('refused', () => {
  test.each([
    ['', 'empty'],
    ['Busybox', 'lower case'],
    ['reg.io/App', 'lower case'],
    ['reg.io/', 'missing'],
    ['/a', 'not a part'],
    ['reg.io//a', 'not a part'],
    ['reg.io/a/', 'not a part'],
    ['reg.io/-a', 'not a part'],
    ['reg.io/a..b', 'not a part'],
    ['reg.io/a___b', 'not a part'],
    ['reg.io/../etc', 'not a part'],
    ['a b', 'not a part'],
    ['a\nb', 'not a part'],
    ['a:', 'not a tag'],
    ['a:-t', 'not a tag'],
    [`a:${'t'.repeat(129)}`, 'not a tag'],
    ['a:b:c', 'not a tag'],
    ['reg.io:port/a', 'not a registry host'],
    ['reg.io:0/a', 'does not exist'],
    ['reg.io:65536/a', 'does not exist'],
    ['-reg.io/a', 'not a registry host'],
    ['reg_x.io/a', 'not a registry host'],
    ['[::g]:1/a', 'not a registry host'],
    ['user@host.io/a', 'not a digest'],
    [`reg.io/${'a'.repeat(256)}`, 'longer than 255'],
    ['a'.repeat(5000), 'longer than 4096'],
    [HEX, 'image id'],
    ['a@sha256:abc', '64'],
    [`a@${DIGEST.toUpperCase()}`, 'not supported'],
    [`a@sha256:${HEX.toUpperCase()}`, '64 lower-case'],
    ['https://reg.io/a', 'not a registry host'],
  ])('%j: %s', (text, why) => {
    expect(() => parseReference(text)).toThrow(why)
    try {
      parseReference(text)
    } catch (e) {
      if (e instanceof Fault) expect(e.message.length).toBeLessThan(400)
      expect(e).toBeInstanceOf(Fault)
    }
  })

  test('a digest algorithm that is not sha256 is unsupported, not invalid', () => {
    expect(() => parseDigest(`sha512:${HEX}${HEX}`)).toThrow(expect.objectContaining({ kind: 'unsupported' }))
    expect(() => parseDigest('md5')).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})

describe('names', () => {
  test('of a pull by tag, by digest, and by both', () => {
    expect(tagName(parseReference('a:1'))).toBe('docker.io/library/a:1')
    expect(tagName(parseReference(`a@${DIGEST}`))).toBeUndefined()
    expect(tagName(parseReference(`a:1@${DIGEST}`))).toBeUndefined()
    expect(digestName(parseReference('a:1'), parseDigest(DIGEST))).toBe(`docker.io/library/a@${DIGEST}`)
  })

  test.each([
    ['0123456789abc', '0123456789abc'],
    ['sha256:0123', '0123'],
    [DIGEST, HEX],
    ['012', undefined],
    ['busybox', undefined],
    ['ABCDEF', undefined],
    [`${HEX}0`, undefined],
  ])('%s may stand for the id %s', (text, prefix) => {
    expect(imageIdPrefix(text)).toBe(prefix)
  })

  test('the API of Docker Hub is at another host than its name', () => {
    expect([apiHostOf('docker.io'), apiHostOf('reg.io:1')]).toEqual(['registry-1.docker.io', 'reg.io:1'])
  })
})
