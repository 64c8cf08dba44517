// SPDX-License-Identifier: Apache-2.0
/**
 * 64-bit integers of the generated codec: exact as bigint in both directions, over every length of varint, in
 * single and packed fields, from bigint and from number. Needs the generated code (`npm run gen`).
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { v1 } from '../../../src/edge/cri/gen/api.js'

const int64 = (value: bigint): bigint => v1.Int64Value.decode(v1.Int64Value.encode({ value }).finish()).value
const uint64 = (value: bigint): bigint =>
  v1.UInt64Value.decode(v1.UInt64Value.encode({ value }).finish()).value

describe('int64 of the codec', () => {
  test.each([
    1785000000123456789n,
    -1n,
    -1785000000123456789n,
    0n,
    1n,
    127n,
    128n,
    0xffffffffn,
    0x100000000n,
    -(2n ** 63n),
    2n ** 63n - 1n,
  ])('%s survives as int64', (value) => {
    expect(int64(value)).toBe(value)
  })

  test.each([0n, 1n, 2n ** 32n, 2n ** 63n, 2n ** 64n - 1n])('%s survives as uint64', (value) => {
    expect(uint64(value)).toBe(value)
  })

  test('every int64 and every uint64 survives', () => {
    fc.assert(fc.property(fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }), (v) => int64(v) === v))
    fc.assert(fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (v) => uint64(v) === v))
  })

  test('the bytes are those that the wire format prescribes', () => {
    const hex = (value: bigint): string =>
      Buffer.from(v1.Int64Value.encode({ value }).finish()).toString('hex')
    expect(hex(300n)).toBe('08ac02')
    expect(hex(-1n)).toBe('08ffffffffffffffffff01')
    expect(hex(0n)).toBe('')
  })

  test('a number writes what the same bigint writes', () => {
    for (const value of [0, 1, 127, 128, 2 ** 31, 2 ** 40, -1, -(2 ** 40)]) {
      const fromNumber = v1.Int64Value.encode({ value: value as unknown as bigint }).finish()
      expect(Buffer.from(fromNumber)).toEqual(
        Buffer.from(v1.Int64Value.encode({ value: BigInt(value) }).finish()),
      )
    }
    expect(() => v1.Int64Value.encode({ value: 1.5 as unknown as bigint }).finish()).toThrow(RangeError)
  })

  test('packed and unpacked lists are read as bigint', () => {
    const groups = [0n, 5n, -1n, 1785000000123456789n]
    const bytes = v1.LinuxContainerSecurityContext.encode({ supplementalGroups: groups }).finish()
    expect(v1.LinuxContainerSecurityContext.decode(bytes).supplementalGroups).toEqual(groups)
    const field = v1.LinuxContainerSecurityContext.encode({ supplementalGroups: [1n] }).finish()[0] ?? 0
    const unpacked = Uint8Array.from([field & ~7, 7, field & ~7, 9])
    expect(v1.LinuxContainerSecurityContext.decode(unpacked).supplementalGroups).toEqual([7n, 9n])
  })

  test('a field that is absent reads as 0n, and unknown fields are dropped', () => {
    expect(v1.Int64Value.decode(new Uint8Array()).value).toBe(0n)
    const decoded = v1.Int64Value.decode(Uint8Array.from([0x08, 1, 0x78, 5, 0x7a, 1, 65]))
    expect(decoded.value).toBe(1n)
    expect(Buffer.from(v1.Int64Value.encode(decoded).finish()).toString('hex')).toBe('0801')
  })

  test('an endless varint and one that is cut off are refused', () => {
    expect(() => v1.Int64Value.decode(Uint8Array.from([8, ...Array(10).fill(0x80), 1]))).toThrow(/varint/)
    expect(() => v1.Int64Value.decode(Uint8Array.from([8, 0x80]))).toThrow(RangeError)
  })

  test('env values are bytes', () => {
    const value = Uint8Array.from([0xff, 0x00, 0x80])
    const decoded = v1.KeyValue.decode(v1.KeyValue.encode({ key: 'K', value }).finish())
    expect(Buffer.from(decoded.value)).toEqual(Buffer.from(value))
  })
})
