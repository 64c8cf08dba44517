// SPDX-License-Identifier: Apache-2.0
/** The runtimes' words: the last error of a JSON log, what it is the fault of, and which versions both sides know. */
import { describe, expect, test } from 'vitest'
import { lastLogMessage, runtimeFault } from '../../../src/host/oci-runtime/failure.ts'
import { olderVersion, parseFeatures } from '../../../src/host/oci-runtime/features.ts'

const line = (level: string, msg: string) => JSON.stringify({ level, msg, time: '2026-11-24T00:00:00Z' })

describe('the log', () => {
  test.each([
    ['the error, not the warning after it', `${line('error', 'no')}\n${line('warning', 'later')}\n`, 'no'],
    ['the last of two errors', `${line('error', 'first')}\n${line('error', 'second')}\n`, 'second'],
    ['the last of two without a newline', line('error', 'first') + line('error', 'second'), 'second'],
    ['a line that is no JSON, as it is', 'panic: out of cheese\n', 'panic: out of cheese'],
    ['nothing of an empty log', '\n', ''],
  ])('gives %s', (_what, log, message) => {
    expect(lastLogMessage(log)).toBe(message)
  })

  test('is cut where it is endless', () => {
    expect(lastLogMessage(line('error', 'x'.repeat(10_000)))).toHaveLength(2000)
  })
})

describe('what a failure is the fault of', () => {
  test.each([
    ['runc', 'exec: "nope": executable file not found in $PATH', 'invalid', 'bad-command'],
    ['runc', 'exec: "/etc": permission denied', 'invalid', 'bad-command'],
    ['runc', 'exec /bin/x: exec format error', 'invalid', 'bad-command'],
    [
      'crun',
      'executable file `nope` not found in $PATH: No such file or directory',
      'invalid',
      'bad-command',
    ],
    [
      'runsc',
      'starting container: starting sub-container [/no]: creating process: failed to load /no: no such file or directory',
      'invalid',
      'bad-command',
    ],
    ['runsc', 'loading container: file does not exist', 'not-found', 'unknown-container'],
    ['runc', 'container does not exist', 'not-found', 'unknown-container'],
    [
      'runc',
      'unable to set memory limit to 1 (current usage: 77824, peak usage: 81920)',
      'invalid',
      'bad-limit',
    ],
    [
      'runc',
      'failed to write 99: write /sys/fs/cgroup/cpuset/a/cpuset.cpus: invalid argument',
      'invalid',
      'bad-limit',
    ],
    ['runc', 'something else broke', 'internal', undefined],
  ] as const)('%s: %s', (kind, message, fault, reason) => {
    const got = runtimeFault(kind, 'create', line('error', message))
    expect([got.kind, got.reason]).toEqual([fault, reason])
    expect(got.message).toContain(message)
  })
})

describe('versions and features', () => {
  test.each([
    ['1.0.2-dev', '1.2.0', '1.0.2'],
    ['1.2.0', '1.0.2', '1.0.2'],
    ['1.10.0', '1.9.9', '1.9.9'],
    ['1.2.0', '1.2.0', '1.2.0'],
  ])('of %s and %s it is %s that both know', (a, b, older) => {
    expect(olderVersion(a, b)).toBe(older)
  })

  test('what is absent cannot be done', () => {
    const none = { seccomp: false, apparmor: false, idmap: false }
    expect(parseFeatures('{}')).toEqual(none)
    expect(parseFeatures('{"linux":{"seccomp":{"enabled":"yes"}},"mountOptions":7}')).toEqual(none)
  })

  test('what is there is read', () => {
    const text = JSON.stringify({
      ociVersionMax: '1.2.0',
      mountOptions: ['ro', 'rro'],
      linux: {
        seccomp: { enabled: true },
        apparmor: { enabled: true },
        mountExtensions: { idmap: { enabled: true } },
      },
    })
    expect(parseFeatures(text)).toEqual({
      ociVersionMax: '1.2.0',
      mountOptions: ['ro', 'rro'],
      seccomp: true,
      apparmor: true,
      idmap: true,
    })
  })
})
