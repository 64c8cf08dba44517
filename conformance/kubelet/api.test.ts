// SPDX-License-Identifier: Apache-2.0
/**
 * The kubelet's own API on top of the runtime's streaming, as kubectl uses it: exec, attach and port-forward over
 * SPDY and WebSocket with client-go, logs that are followed, and logs that the kubelet rotates.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect } from 'vitest'
import { startChild, waitUntil } from '../../test/support/child.ts'
import { container, isReady, type Node, placeOf, stay } from './node.ts'
import { kubeletSuite } from './suite.ts'

let n: Node
const streamclient = join(dirname(import.meta.dirname), 'bin/streamclient')
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')

const kubelet = kubeletSuite({}, async (node) => {
  n = node
  const forked = container('echo', 'exec nc -ll -p 7000 -e cat')
  await n.put('api', [
    container('c', stay),
    forked,
    container('in', 'cat; sleep 3600', { stdin: true, stdinOnce: true }),
  ])
  await n.until('api', isReady)
})

interface Outcome {
  readonly sentSHA256?: string
  readonly receivedSHA256?: readonly string[]
  readonly receivedBytes: number
  readonly stderr?: string
  readonly exitCode: number
  readonly error?: string
}

async function stream(verb: 'exec' | 'forward', flags: readonly string[], url: string): Promise<Outcome> {
  const { stdout } = await promisify(execFile)(streamclient, [verb, ...flags, url], { timeout: 60_000 })
  const outcome: Outcome = JSON.parse(stdout)
  return outcome
}

for (const transport of ['spdy', 'websocket'])
  describe(`over ${transport}`, () => {
    const over = ['--transport', transport]
    const execUrl = (script: string, streams: string): string => {
      const command = new URLSearchParams(
        ['sh', '-c', script].map((word): [string, string] => ['command', word]),
      )
      return `${n.kubelet.api}/exec/${placeOf('api', 'c')}?${command}&${streams}`
    }

    kubelet('exec gives stdout, stderr and the exit code', async () => {
      const url = execUrl('echo out; echo err >&2; exit 42', 'output=1&error=1')
      const got = await stream('exec', over, url)
      expect(got).toMatchObject({ exitCode: 42, stderr: 'err\n', receivedSHA256: [sha256('out\n')] })
      expect(got.error).toBeUndefined()
    })

    kubelet('exec passes 8 MiB of stdin to the end and back', async () => {
      const got = await stream(
        'exec',
        [...over, '--stdin', String(8 << 20)],
        execUrl('cat', 'input=1&output=1&error=1'),
      )
      expect(got).toMatchObject({ exitCode: 0, receivedBytes: 8 << 20, receivedSHA256: [got.sentSHA256] })
    })

    kubelet('exec on a terminal ends with its command', async () => {
      const got = await stream('exec', [...over, '--tty'], execUrl('tty; exit 3', 'output=1&tty=1'))
      expect(got).toMatchObject({ exitCode: 3, receivedSHA256: [sha256('/dev/pts/0\r\n')] })
    })

    kubelet('port-forward carries four connections at once', async () => {
      const url = `${n.kubelet.api}/portForward/default/api-node1`
      const flags = [...over, '--port', '7000', '--bytes', String(1 << 20), '--connections', '4']
      const got = await stream('forward', flags, url)
      expect(got.receivedSHA256).toEqual(Array(4).fill(got.sentSHA256))
    })
  })

kubelet('attach passes stdin, once, and gives what the container writes', async () => {
  const url = `${n.kubelet.api}/attach/${placeOf('api', 'in')}?input=1&output=1&error=1`
  const got = await stream('exec', ['--stdin', '100000', '--cancel-ms', '3000'], url)
  expect(got).toMatchObject({ receivedBytes: 100_000, receivedSHA256: [got.sentSHA256] })
})

kubelet('/run gives the output of a command', async () => {
  const args = ['-sk', '-X', 'POST', `${n.kubelet.api}/run/${placeOf('api', 'c')}?cmd=hostname`]
  expect((await promisify(execFile)('curl', args)).stdout).toBe('api-node1\n')
})

kubelet('logs are followed to the end of the container, and cut as asked', async () => {
  await n.put('talk', [container('c', 'for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done')], {
    restartPolicy: 'Never',
  })
  await n.logged('talk', 'c', 'line 1')
  expect(await n.log('talk', 'c', 'follow=true')).toBe('line 1\nline 2\nline 3\nline 4\nline 5\n')
  expect(await n.log('talk', 'c', 'tailLines=2')).toBe('line 4\nline 5\n')
  expect(await n.log('talk', 'c', 'tailLines=1&timestamps=true')).toMatch(
    /^\d{4}-\d\d-\d\dT[\d:.]+(Z|\+\S+) line 5\n$/,
  )
})

kubelet('a log that grows is rotated without a line lost or doubled, also while it is followed', async () => {
  const lines = 4000
  const script = `i=0; while test $i -lt ${lines}; do echo "this is line $i"; i=$((i + 1)); usleep 1500; done; ${stay}`
  await n.put('grows', [container('c', script)])
  await n.logged('grows', 'c', 'line 0')
  const follower = await startChild('curl', [
    '-skN',
    `${n.kubelet.api}/containerLogs/${placeOf('grows', 'c')}?follow=true`,
  ])
  try {
    await waitUntil('its last line', () => follower.lines.at(-1) === `this is line ${lines - 1}`, {
      withinMs: 60_000,
    })
    expect(follower.lines).toEqual(Array.from({ length: lines }, (_, i) => `this is line ${i}`))
  } finally {
    await follower.end()
  }
  const [pod = ''] = (await readdir(n.kubelet.logs)).filter((d) => d.startsWith('default_grows'))
  const files = await readdir(join(n.kubelet.logs, pod, 'c'))
  expect(files.filter((f) => f.startsWith('0.log.')).length, files.join()).toBeGreaterThan(0)
})
