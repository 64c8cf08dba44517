// SPDX-License-Identifier: Apache-2.0
/** The result line of `gantry-unpack`: every form it may have, and that a broken one is never taken as success. */
import { describe, expect, test } from 'vitest'
import type { Fault } from '../../../../src/base/fault.ts'
import { readResult, readVerifyResult } from '../../../../src/host/unpack/result.ts'

const digest = 'sha256:abc'
const good = {
  blobDigest: digest,
  blobSize: 10,
  diffId: 'sha256:def',
  entries: 1,
  bytes: 4096,
  inodes: 1,
  implied: ['usr'],
  impliedCount: 1,
  xattrsSkipped: 0,
  zeroDevices: 0,
  recordBytes: 0,
  lost: '',
  warnings: [],
}
const what = `unpack layer ${digest}`
const exit = (answer: string, code = 0, more: { signal?: number; stderr?: string } = {}) => ({
  code,
  signal: 0,
  answer,
  stderr: '',
  ...more,
})

function faultOf(run: () => unknown): Fault {
  try {
    run()
  } catch (e) {
    return e as Fault
  }
  throw new Error('did not throw')
}

test('a whole result is returned as it is', () => {
  expect(readResult(what, exit(`${JSON.stringify(good)}\n`))).toEqual(good)
})

describe('errors keep kind, stage, path and message, and name the layer', () => {
  test.each([
    ['corrupt', 'corrupt'],
    ['unsupported', 'unsupported'],
    ['exhausted', 'exhausted'],
    ['internal', 'internal'],
    ['denied', 'internal'],
    [7, 'internal'],
  ])('%s becomes %s', (kind, expected) => {
    const line = JSON.stringify({ error: { kind, stage: 'tar', path: 'a/b', message: 'bad' } })
    const fault = faultOf(() => readResult(what, exit(line, 1)))
    expect(fault.kind).toBe(expected)
    expect(fault.message).toBe("unpack layer sha256:abc: tar of 'a/b': bad")
  })

  test('without a path only the stage is named, and texts are cut', () => {
    const line = JSON.stringify({
      error: { kind: 'corrupt', stage: 'verify', path: '', message: 'x'.repeat(9000) },
    })
    const fault = faultOf(() => readResult(what, exit(line, 1)))
    expect(fault.message).toBe(`unpack layer sha256:abc: verify: ${'x'.repeat(1000)}`)
  })

  test('an error line with exit code 0 is still an error', () => {
    expect(faultOf(() => readResult(what, exit('{"error":{"kind":"corrupt"}}'))).kind).toBe('corrupt')
  })
})

describe('what is no result is internal', () => {
  test.each([
    ['no line, by a signal', exit('', -1, { signal: 31 }), /signal 31 and no result$/],
    [
      'no line, with words',
      exit('', 2, { stderr: 'no libisal\n' }),
      /exit code 2 and no result: no libisal$/,
    ],
    ['half a line', exit(JSON.stringify(good).slice(0, 40)), /no result/],
    ['a good line but a bad exit', exit(JSON.stringify(good), 1), /exit code 1/],
    ['a line that is no object', exit('42'), /no result/],
    ['a negative number', exit(JSON.stringify({ ...good, bytes: -1 })), /no usable 'bytes'/],
    ['a missing digest', exit(JSON.stringify({ ...good, diffId: undefined })), /no usable 'diffId'/],
    ['names that are no texts', exit(JSON.stringify({ ...good, implied: [1] })), /no usable 'implied'/],
  ])('%s', (_, ended, says) => {
    const fault = faultOf(() => readResult(what, ended))
    expect(fault.kind).toBe('internal')
    expect(fault.message).toMatch(says)
  })
})

test('a comparison without a problem is whole', () => {
  const line = (problem: string) => exit(JSON.stringify({ entries: 2, path: 'a', problem }))
  expect(readVerifyResult(what, line(''))).toMatchObject({ whole: true, entries: 2 })
  expect(readVerifyResult(what, line('it is missing'))).toMatchObject({ whole: false, path: 'a' })
})
