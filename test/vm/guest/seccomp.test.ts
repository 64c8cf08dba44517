// SPDX-License-Identifier: Apache-2.0
/**
 * The seccomp profile of RuntimeDefault through both runtimes: crun hands rules to libseccomp in its own way, and runs
 * nowhere but on cgroup v2 alone. What each call is answered is asked in `test/integration/containers-seccomp.test.ts`.
 */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { expectNoLeaks } from '../../support/leak-check.ts'
import type { Scenario } from '../../support/scenario.ts'
import { ran } from '../../support/scenario-run.ts'
import { handlers, startGuestScenario } from './guest.ts'

let s: Scenario
let program: string

beforeAll(async () => {
  s = await startGuestScenario()
  program = join(s.workspace.root, 'syscalls')
  const source = join(import.meta.dirname, '../../support/syscalls.c')
  await promisify(execFile)('cc', ['-static', '-O1', '-o', program, source])
})
afterAll(() => s?.end((before) => expectNoLeaks(before, { withinMs: 10_000 })))

describe.each(handlers)('with %s', (handler) => {
  afterEach(() => s.removePods())

  it('refused calls, unknown calls and calls by their arguments are answered alike', async () => {
    const pod = await s.pod(`sc-${handler}`, { handler })
    const answers = async (addCapabilities: readonly string[]) => {
      const { stdout } = await ran(s, pod, '/syscalls', {
        mounts: [{ containerPath: '/syscalls', hostPath: program, readonly: true }],
        linux: {
          securityContext: {
            seccomp: { profileType: 0 },
            capabilities: { addCapabilities: [...addCapabilities] },
          },
        },
      })
      return stdout
    }
    const plain = await answers([])
    for (const line of [
      'unshare 1',
      'mount 1',
      'bpf 1',
      'keyctl 1',
      'clone3 38',
      'no-such-call 38',
      'personality-query 0',
      'socket-unix 0',
      'socket-alg-high-bits 97',
      'socket-vsock 97',
      'clone 0:0 17:1 25:1 26:1 27:1 28:1 29:1 30:1 both:1',
    ])
      expect(plain.split('\n')).toContain(line)
    const admin = await answers(['SYS_ADMIN'])
    expect(admin.split('\n')).toEqual(expect.arrayContaining(['unshare 0', 'keyctl 1']))
    expect(admin).toMatch(/^clone 0:0 17:0 /m)
  })
})
