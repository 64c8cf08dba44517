// SPDX-License-Identifier: Apache-2.0
/** The wrapper around every call: who ended it, what is answered, what is logged, and that nothing stays behind. */
import { EventEmitter, getEventListeners } from 'node:events'
import { Metadata, status } from '@grpc/grpc-js'
import { describe, expect, test, vi } from 'vitest'
import { act } from '../../../../src/base/act.ts'
import { Fault, type FaultKind } from '../../../../src/base/fault.ts'
import type { Log, LogFields } from '../../../../src/base/log.ts'
import { abortFault, childScope, type Scope } from '../../../../src/base/scope.ts'
import { answer, openCall } from '../../../../src/edge/cri/call.ts'
import { toGrpc } from '../../../../src/edge/cri/status.ts'

interface Line {
  readonly level: string
  readonly event: string
  readonly fields: LogFields
}

function listening() {
  const lines: Line[] = []
  const log = (more: LogFields): Log => {
    const level = (name: string) => (event: string, fields?: LogFields) =>
      void lines.push({ level: name, event, fields: { ...more, ...fields } })
    return {
      debug: level('debug'),
      info: level('info'),
      warn: level('warn'),
      error: level('error'),
      with: (fields) => log({ ...more, ...fields }),
    }
  }
  const controller = new AbortController()
  const daemon: Scope = { signal: controller.signal, log: log({}) }
  return { lines, daemon, end: (why: Fault) => controller.abort(why) }
}

class Incoming extends EventEmitter {
  readonly metadata = new Metadata()
  cancelled = false
  deadline: Date | number = Number.POSITIVE_INFINITY
  getDeadline() {
    return this.deadline
  }
}

describe('the end of a call', () => {
  test.each([
    ['without a deadline is a cancellation', Number.POSITIVE_INFINITY, 'cancelled'],
    ['before the deadline is a cancellation', Date.now() + 60_000, 'cancelled'],
    ['after the deadline is a timeout', new Date(Date.now() - 10), 'timeout'],
  ])('%s', (_what, deadline, kind) => {
    const incoming = new Incoming()
    incoming.deadline = deadline
    using scope = openCall(listening().daemon, incoming, 'Version')
    expect(scope.signal.aborted).toBe(false)
    incoming.emit('cancelled')
    expect(abortFault(scope.signal)).toMatchObject({ kind, message: expect.stringContaining('Version: ') })
  })

  test('that came before anybody looked is seen', () => {
    const incoming = new Incoming()
    incoming.cancelled = true
    using scope = openCall(listening().daemon, incoming, 'Version')
    expect(scope.signal.aborted).toBe(true)
  })

  test('of the daemon is the end of all calls', () => {
    const { daemon, end } = listening()
    using scope = openCall(daemon, new Incoming(), 'Version')
    end(new Fault('unavailable', 'stopping'))
    expect(abortFault(scope.signal)).toMatchObject({ kind: 'unavailable' })
  })
})

describe('the answer', () => {
  const ask = async (rpc: string, work: () => unknown) => {
    const { lines, daemon } = listening()
    const scope = openCall(daemon, new Incoming(), rpc)
    const got = await answer(scope, rpc, work)
    return { got, lines, left: getEventListeners(daemon.signal, 'abort').length }
  }

  test('is the value, and leaves one line and no listener', async () => {
    const { got, lines, left } = await ask('RunPodSandbox', async () => 5)
    expect([got, left]).toEqual([{ value: 5 }, 0])
    expect(lines).toMatchObject([
      { level: 'info', event: 'call', fields: { rpc: 'RunPodSandbox', call: expect.any(Number) } },
    ])
  })

  test.each(['ListContainers', 'PodSandboxStatus', 'Version', 'ExecSync', 'StreamImages', 'ImageFsInfo'])(
    '%s is asked all the time: its line is debug',
    async (rpc) => {
      expect((await ask(rpc, () => 1)).lines).toMatchObject([{ level: 'debug' }])
    },
  )

  test('to a fault is its status, with its words, at info also for chatty calls', async () => {
    const { got, lines } = await ask('ContainerStatus', () => {
      throw new Fault('not-found', 'no such container')
    })
    expect(got).toEqual({ error: { code: status.NOT_FOUND, details: 'no such container' } })
    expect(lines).toMatchObject([
      { level: 'info', event: 'call-failed', fields: { kind: 'not-found', code: 5 } },
    ])
  })

  test('to a bug says nothing of it to the client, and everything to the log', async () => {
    const { got, lines, left } = await ask('Version', () => Promise.reject(new TypeError('secret detail')))
    expect(got).toEqual({ error: { code: status.INTERNAL, details: expect.not.stringContaining('secret') } })
    expect(lines).toMatchObject([
      {
        level: 'error',
        event: 'bug',
        fields: { error: 'secret detail', stack: expect.stringContaining('TypeError') },
      },
    ])
    expect(left).toBe(0)
  })

  test('that took long says where the time went, unless the call is meant to wait', async () => {
    for (const [rpc, events] of [
      ['CreateContainer', ['slow-call']],
      ['StopContainer', ['call']],
      ['GetContainerEvents', ['call']],
    ] as const) {
      let clock = 0
      const now = vi.spyOn(performance, 'now').mockImplementation(() => clock)
      try {
        const { lines, daemon } = listening()
        const scope = openCall(daemon, new Incoming(), rpc)
        await answer(scope, rpc, async () => {
          for (const [name, ms] of [
            ['rootfs', 5000],
            ['bundle', 30],
            ['rootfs', 200],
          ] as const)
            await act(scope, { work: 'create', name }, async () => {
              clock += ms
            })
        })
        const told = lines.filter((l) => l.event !== 'act')
        expect(told.map((l) => l.event)).toEqual(events)
        if (rpc === 'CreateContainer')
          expect(told).toMatchObject([
            {
              level: 'warn',
              fields: { ms: 5230, stages: { 'create:rootfs': 5200, 'create:bundle': 30 } },
            },
          ])
      } finally {
        now.mockRestore()
      }
    }
  })

  test('of a call that was cancelled closes its scope too', async () => {
    const daemon = listening().daemon
    const scope = childScope(daemon)
    scope.abort(new Fault('cancelled', 'gone'))
    expect(await answer(scope, 'Version', () => Promise.reject(abortFault(scope.signal)))).toEqual({
      error: { code: status.CANCELLED, details: 'gone' },
    })
    expect(getEventListeners(daemon.signal, 'abort')).toHaveLength(0)
  })
})

describe('statuses', () => {
  test.each<[FaultKind, status]>([
    ['invalid', status.INVALID_ARGUMENT],
    ['not-found', status.NOT_FOUND],
    ['exists', status.ALREADY_EXISTS],
    ['wrong-state', status.FAILED_PRECONDITION],
    ['denied', status.PERMISSION_DENIED],
    ['exhausted', status.RESOURCE_EXHAUSTED],
    ['unavailable', status.UNAVAILABLE],
    ['timeout', status.DEADLINE_EXCEEDED],
    ['cancelled', status.CANCELLED],
    ['unsupported', status.UNIMPLEMENTED],
    ['corrupt', status.DATA_LOSS],
    ['internal', status.INTERNAL],
  ])('%s', (kind, code) => {
    expect(toGrpc(new Fault(kind, 'words'))).toEqual({ code, details: 'words' })
  })

  test('what the kubelet looks for stands in front, other reasons do not', () => {
    const of = (reason: string) => toGrpc(new Fault('unavailable', 'no answer', { reason })).details
    expect([of('RegistryUnavailable'), of('SignatureValidationFailed'), of('monitor-gone')]).toEqual([
      'RegistryUnavailable: no answer',
      'SignatureValidationFailed: no answer',
      'no answer',
    ])
  })

  test.each(['RegistryUnavailable', 'SignatureValidationFailed'])(
    '%s goes without a code, because the kubelet would have the code in front of it',
    (reason) => {
      expect(toGrpc(new Fault('denied', 'no', { reason })).code).toBe(status.UNKNOWN)
    },
  )

  test('a long message is cut: it travels in a header', () => {
    expect(toGrpc(new Fault('internal', 'x'.repeat(100_000))).details.length).toBeLessThan(5000)
  })
})
