// SPDX-License-Identifier: Apache-2.0
/** The screen of `gantry status` from replies that a daemon could give, and from ones of a stranger. */
import { describe, expect, test } from 'vitest'
import type { CriClient } from '../../../src/cli/client.ts'
import { isReady, statusScreen, summarize } from '../../../src/cli/status.ts'
import { sizeText } from '../../../src/cli/text.ts'

const plain = (_: string, text: string): string => text

/** A daemon that gives these replies, and empty ones else. */
function daemon(replies: Readonly<Record<string, object>>): CriClient {
  return {
    call: async (method: string) => replies[method] ?? {},
    [Symbol.dispose]: () => {},
  } as unknown as CriClient
}

const healthy = {
  Version: { runtimeName: 'gantry', runtimeVersion: '0.1.0', runtimeApiVersion: 'v1' },
  Status: {
    status: {
      conditions: [
        { type: 'RuntimeReady', status: true },
        { type: 'NetworkReady', status: true },
      ],
    },
    runtimeHandlers: [
      { name: 'runc', features: { recursiveReadOnlyMounts: true } },
      { name: 'crun' },
      { name: '', features: { recursiveReadOnlyMounts: true } },
    ],
    info: {
      host: JSON.stringify({
        kernel: '6.1.0',
        cgroupVersion: 2,
        cgroupDriver: 'systemd',
        network: 'pods',
        defaultHandler: 'runc',
        handlers: { runc: 'runc version 1.1.5', crun: 'crun version 1.8.1' },
      }),
      problems: JSON.stringify({ problems: [] }),
    },
  },
  ListPodSandbox: { items: [{ state: 0 }, { state: 1 }, {}] },
  ListContainers: { containers: [{ state: 0 }, { state: 1 }, { state: 1 }, { state: 2 }] },
  ListImages: { images: [{}, {}] },
  ImageFsInfo: {
    imageFilesystems: [
      {
        fsId: { mountpoint: '/nowhere/layers' },
        usedBytes: { value: 3n << 20n },
        inodesUsed: { value: 40n },
      },
    ],
  },
}

describe('status', () => {
  test('a healthy daemon', async () => {
    const summary = await summarize(daemon(healthy), '/run/s.sock')
    expect(isReady(summary)).toBe(true)
    expect(statusScreen(summary, plain)).toBe(
      [
        'gantry      0.1.0, CRI v1, on /run/s.sock',
        'runtime     ready',
        'network     ready (pods)',
        'handlers    runc (default), runc version 1.1.5',
        '            crun, crun version 1.8.1',
        'host        kernel 6.1.0, cgroup v2, driver systemd',
        'pods        2 ready, 1 not ready',
        'containers  2 running, 1 created, 1 exited',
        'images      2, layers of 3.0 MiB in 40 files',
        'problems    none',
        '',
      ].join('\n'),
    )
    expect(summary.handlers).toEqual([
      { name: 'runc', isDefault: true, version: 'runc version 1.1.5', recursiveReadOnlyMounts: true },
      { name: 'crun', isDefault: false, version: 'crun version 1.8.1', recursiveReadOnlyMounts: false },
    ])
    expect(() => JSON.stringify(summary)).not.toThrow()
  })

  test('a network that is not ready, and problems', async () => {
    const conditions = [
      { type: 'RuntimeReady', status: true },
      { type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady', message: 'no conf' },
    ]
    const problems = JSON.stringify({ problems: ['one', 'two'] })
    const sick = { ...healthy, Status: { status: { conditions }, info: { problems } } }
    const summary = await summarize(daemon(sick), '/s')
    expect(isReady(summary)).toBe(false)
    const screen = statusScreen(summary, plain)
    expect(screen).toContain('network     not ready: NetworkPluginNotReady: no conf\n')
    expect(screen).toMatch(/problems {4}one\n {12}two\n$/)
  })

  test('a stranger that tells little, or nonsense, is shown as far as it tells', async () => {
    const summary = await summarize(daemon({ Status: { info: { host: 'nonsense', problems: '7' } } }), '/s')
    expect(isReady(summary)).toBe(false)
    expect(statusScreen(summary, plain)).toContain('host        not told\n')
    expect(summary.problems).toEqual([])
  })

  test.each([
    [0, '0 B'],
    [1023, '1023 B'],
    [1536, '1.5 KiB'],
    [5 * 1024 ** 3, '5.0 GiB'],
    [3000 * 1024 ** 4, '3000.0 TiB'],
  ])('%d bytes are %s', (bytes, text) => expect(sizeText(bytes)).toBe(text))
})
