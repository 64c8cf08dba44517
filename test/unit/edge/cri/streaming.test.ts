// SPDX-License-Identifier: Apache-2.0
/** Requests for streams as commands: what is taken, and by which field the rest is refused. */
import { describe, expect, it } from 'vitest'
import { decodeAttach, decodeExec, decodePortForward } from '../../../../src/edge/cri/decode/streaming.ts'

const streams = { stdin: false, stdout: true, stderr: true, tty: false }
const none = { stdin: false, stdout: false, stderr: false, tty: false }
const refused = (decode: () => unknown, ...words: readonly string[]) => {
  try {
    decode()
  } catch (e) {
    for (const word of words) expect(String(e)).toContain(word)
    return
  }
  throw new Error('it was taken')
}

describe('Exec', () => {
  it('is a container, words and streams', () => {
    const request = { containerId: 'c', cmd: ['sh', ''], ...streams }
    expect(decodeExec(request)).toEqual({ id: 'c', args: ['sh', ''], streams })
  })
  it.each([
    ['no command', { cmd: [] }, 'cmd: is required'],
    ['a NUL', { cmd: ['a\0b'] }, 'cmd: has a NUL'],
    ['no stream', { stdout: false, stderr: false }, 'stdin, stdout, stderr'],
    ['stderr of a terminal', { tty: true }, 'stderr: a terminal has none'],
    ['no container', { containerId: '' }, 'container_id: is required'],
  ])('is refused with %s', (_, fields, word) => {
    const request = { containerId: 'c', cmd: ['sh'], ...streams, ...fields }
    refused(() => decodeExec(request), word)
  })
  it('hears of all bad fields at once', () => {
    refused(() => decodeExec({ containerId: 'c', cmd: [], ...none }), 'cmd', 'stdin, stdout, stderr')
  })
})

describe('Attach', () => {
  it('is a container and streams; stdin alone is enough', () => {
    expect(decodeAttach({ containerId: 'c', ...none, stdin: true })).toEqual({
      id: 'c',
      streams: { ...none, stdin: true },
    })
  })
  it('is refused without any stream', () => {
    refused(() => decodeAttach({ containerId: 'c', ...none }), 'stdin, stdout, stderr')
  })
})

describe('PortForward', () => {
  it('takes any port when none is named', () => {
    expect(decodePortForward({ podSandboxId: 'p', port: [] })).toEqual({ id: 'p', ports: [] })
    expect(decodePortForward({ podSandboxId: 'p', port: [1, 65_535] }).ports).toEqual([1, 65_535])
  })
  it.each([0, -1, 65_536])('is refused for port %d, by its place', (port) => {
    refused(() => decodePortForward({ podSandboxId: 'p', port: [80, port] }), 'port[1]')
  })
  it('is refused for more ports than anybody wants', () => {
    refused(() => decodePortForward({ podSandboxId: 'p', port: Array(1001).fill(80) }), 'port: has more')
  })
})
