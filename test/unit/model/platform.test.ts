// SPDX-License-Identifier: Apache-2.0
/** Which of the platforms that an index offers is taken on which machine. */
import { describe, expect, test } from 'vitest'
import { choosePlatform, formatPlatform, normalPlatform, type Platform } from '../../../src/model/platform.ts'

const of = (text: string): Platform => {
  const [os = '', architecture = '', variant] = text.split('/')
  return { os, architecture, ...(variant === undefined ? {} : { variant }) }
}

describe('the offer taken', () => {
  test.each([
    ['linux/x64', ['linux/arm64', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['windows/amd64', 'linux/amd64/v1'], 'linux/amd64/v1'],
    ['linux/amd64', ['linux/amd64/v3', 'linux/amd64'], 'linux/amd64'],
    ['linux/amd64', ['linux/amd64/v3'], undefined],
    ['linux/amd64/v3', ['linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'], 'linux/amd64/v2'],
    ['linux/arm64', ['linux/arm/v7', 'linux/arm64/v8'], 'linux/arm64/v8'],
    ['linux/arm64', ['linux/arm/v7'], 'linux/arm/v7'],
    ['linux/arm64', ['linux/arm/v6'], undefined],
    ['linux/arm', ['linux/arm/v5', 'linux/arm/v6', 'linux/arm/v8'], 'linux/arm/v6'],
    ['linux/arm/v6', ['linux/arm/v7', 'linux/arm/v5'], 'linux/arm/v5'],
    ['linux/arm/v8', ['linux/arm', 'linux/arm/v6'], 'linux/arm'],
    ['linux/riscv64', ['unknown/unknown', 'linux/riscv64'], 'linux/riscv64'],
    ['linux/s390x', [], undefined],
  ])('on %s of %j is %s', (host, offers, taken) => {
    const chosen = choosePlatform(
      of(host),
      offers.map((o) => ({ name: o, platform: of(o) })),
    )
    expect(chosen?.name).toBe(taken)
  })

  test('of two equal ones is the first', () => {
    const offers = [1, 2].map((n) => ({ n, platform: of('linux/amd64') }))
    expect(choosePlatform(of('linux/amd64'), offers)?.n).toBe(1)
  })
})

test.each([
  ['linux/x86_64', 'linux/amd64'],
  ['Linux/aarch64/v8', 'linux/arm64'],
  ['linux/arm', 'linux/arm/v7'],
  ['linux/armel', 'linux/arm/v6'],
  ['linux/arm/7', 'linux/arm/v7'],
  ['linux/amd64/v1', 'linux/amd64'],
])('%s is written %s', (spelled, normal) => {
  expect(formatPlatform(normalPlatform(of(spelled)))).toBe(normal)
})
