// SPDX-License-Identifier: Apache-2.0
/** The watchdog and what systemd is told: one line a stuck job, pings only while the loop turns, no variable left behind. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { act } from '../../src/base/act.ts'
import { type Log, silent } from '../../src/base/log.ts'
import { beginTask, endTask } from '../../src/base/observer.ts'
import { systemdNotify } from '../../src/notify.ts'
import { watchdog } from '../../src/watchdog.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

function told() {
  const lines: { event: string; fields: unknown }[] = []
  const warn = (event: string, fields?: unknown) => void lines.push({ event, fields })
  const log: Log = { ...silent, warn }
  return { lines, log }
}
const quiet = systemdNotify({ notify: () => {} }, { env: {}, log: silent })

it('a job beyond the limit is told once, with its stage', async () => {
  const { lines, log } = told()
  using _watching = watchdog({ watchLoop: () => {} }, { log, notify: quiet, jobMs: 5000, json: true })
  const { promise, resolve } = Promise.withResolvers<void>()
  const task = beginTask('RunPodSandbox')
  const scope = { signal: new AbortController().signal, log, task }
  const running = act(scope, { work: 'run-pod', name: 'network' }, () => promise)
  await vi.advanceTimersByTimeAsync(4000)
  expect(lines).toEqual([])
  await vi.advanceTimersByTimeAsync(60_000)
  expect(lines).toMatchObject([
    {
      event: 'stuck',
      fields: { rpc: 'RunPodSandbox', call: task.id, stages: [{ stage: 'run-pod:network' }] },
    },
  ])
  resolve()
  await running
  endTask(task, 0)
})

it('the beat has the stage that was begun last, and the counter goes on', async () => {
  let beat: Buffer = Buffer.alloc(0)
  const watchLoop = (given: Buffer) => {
    beat = given
  }
  using _watching = watchdog({ watchLoop }, { log: silent, notify: quiet, jobMs: 0, json: true })
  const scope = { signal: new AbortController().signal, log: silent }
  await act(scope, { work: 'create-container', name: 'image-volumes' }, async () => {})
  await act(scope, { work: 'pull', name: 'x'.repeat(300) }, async () => {})
  await act(scope, { work: 'start', name: 'go' }, async () => {})
  expect(beat.toString('latin1', 4).split('\0')[0]).toBe('start:go')
  const before = beat.readUInt32LE(0)
  await vi.advanceTimersByTimeAsync(3000)
  expect(beat.readUInt32LE(0)).toBe(before + 3)
})

it('systemd hears ready, reloading, stopping, and pings within its limit', async () => {
  const said: string[] = []
  const notify = (path: string, text: string) =>
    void said.push(`${path} ${text.replace(/USEC=\d+/, 'USEC=N')}`)
  const env: NodeJS.ProcessEnv = {
    NOTIFY_SOCKET: '@s',
    WATCHDOG_USEC: '9000000',
    WATCHDOG_PID: String(process.pid),
  }
  const systemd = systemdNotify({ notify }, { env, log: silent })
  expect(env).toEqual({})
  systemd.ready()
  systemd.reloading()
  systemd.stopping()
  expect(said).toEqual(['@s READY=1', '@s RELOADING=1\nMONOTONIC_USEC=N', '@s STOPPING=1'])
  said.length = 0
  using _watching = watchdog({ watchLoop: () => {} }, { log: silent, notify: systemd, jobMs: 0, json: true })
  await vi.advanceTimersByTimeAsync(9000)
  expect(said).toEqual(['@s WATCHDOG=1', '@s WATCHDOG=1', '@s WATCHDOG=1'])
})

it('nothing is said when nobody asked, no ping when another process is meant, and a full socket is no failure', () => {
  const { lines, log } = told()
  const notify = vi.fn(() => {
    throw new Error('full')
  })
  systemdNotify({ notify }, { env: {}, log }).ready()
  expect(notify).not.toHaveBeenCalled()
  const env = { NOTIFY_SOCKET: '/s', WATCHDOG_USEC: '9000000', WATCHDOG_PID: '1' }
  const systemd = systemdNotify({ notify }, { env, log })
  expect(systemd.watchdogMs).toBeUndefined()
  systemd.ready()
  expect(lines).toEqual([{ event: 'systemd-not-told', fields: { text: 'READY=1', error: 'full' } }])
})
