// SPDX-License-Identifier: Apache-2.0
/**
 * The small parts of the conformance tools: reading JSON of no known type, IDs as crictl prints them, the list
 * of steps, and the digest that is put into critest.
 */
import { describe, expect, it } from 'vitest'
import { at, listAt } from '../../../conformance/crictl/json-path.ts'
import { stepNames } from '../../../conformance/crictl/scenario.ts'
import { printed } from '../../../conformance/crictl/subject.ts'
import { withDigest } from '../../../conformance/critest/digest.ts'

describe('json', () => {
  it('gives what is there and undefined for what is not', () => {
    const value: unknown = { a: [{ b: 0 }], c: null }
    expect(at(value, 'a', 0, 'b')).toBe(0)
    expect(at(value, 'a', 1, 'b')).toBe(undefined)
    expect(at(value, 'c', 'd')).toBe(undefined)
    expect([listAt(value, 'a').length, listAt(value, 'c').length]).toEqual([1, 0])
  })
})

describe('the scenario', () => {
  it('prints IDs as crictl does', () => {
    expect(printed(`sha256:${'0123456789abcdef'.repeat(4)}`)).toBe('0123456789abc')
    expect(printed('0123456789abcdef')).toBe('0123456789abc')
  })

  it('has a step of its own name for every command of crictl that it is for', () => {
    const titles = stepNames()
    expect(new Set(titles).size).toBe(titles.length)
    const words = new Set(titles.flatMap((t) => t.split(/\W+/)))
    const commands =
      'version info pull images inspecti rmi imagefsinfo runp pods inspectp create start ps inspect logs exec stop rm stopp rmp run stats statsp metricsp metricdescs update events checkpoint config completion'
    for (const command of commands.split(' ')) expect([command, words.has(command)]).toEqual([command, true])
  })
})

describe('the digest of critest', () => {
  const old = '9700f9a2f5bf2c45f2f605a0bd3bce7cf37420ec9d3ed50ac2758413308766bf'
  const fresh = 'ab'.repeat(32)

  it('is replaced in place, and nothing else', () => {
    const program = Buffer.from(`before ${old} after`)
    expect(withDigest(program, `sha256:${fresh}`).toString()).toBe(`before ${fresh} after`)
    expect(program.toString()).toContain(old)
  })

  it.each([
    ['absent', 'nothing here', `sha256:${fresh}`, /exactly once/],
    ['twice', `${old}${old}`, `sha256:${fresh}`, /exactly once/],
    ['no digest given', old, 'sha512:00', /not a sha256 digest/],
  ])('is refused when it is %s', (_, program, digest, words) => {
    expect(() => withDigest(Buffer.from(program), digest)).toThrow(words)
  })
})
