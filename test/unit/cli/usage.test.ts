// SPDX-License-Identifier: Apache-2.0
/** What `gantry stats` and `gantry top` make of two looks at a daemon. */
import { describe, expect, it } from 'vitest'
import type { CriClient } from '../../../src/cli/client.ts'
import { picture } from '../../../src/cli/top.ts'
import { busiestFirst, chosen, look, usageOf, usageTable } from '../../../src/cli/usage.ts'

const uint = (value: bigint) => ({ value })
const second = 1_000_000_000n

interface At {
  readonly s: bigint
  readonly cpuMs: bigint
  readonly rx: bigint
}

const cpu = ({ s, cpuMs }: At) => ({
  cpu: { timestamp: s * second, usageCoreNanoSeconds: uint(cpuMs * 1_000_000n) },
  memory: { workingSetBytes: uint(1n << 20n) },
})
const pod = (name: string, at: At) => ({
  attributes: { id: `${name}-id`, metadata: { name, namespace: 'default', uid: 'u', attempt: 0 } },
  linux: {
    ...cpu(at),
    network: { defaultInterface: { name: 'eth0', rxBytes: uint(at.rx), txBytes: uint(0n) } },
    containers: [{ attributes: { id: `${name}-c-id`, metadata: { name: 'app', attempt: 3 } }, ...cpu(at) }],
  },
})
const metric = (name: string, value: bigint) => ({ name: `container_${name}`, value: uint(value) })

/** A daemon at one moment. */
const daemon = (pods: readonly object[], podMetrics: readonly object[] = []): CriClient =>
  ({
    call: async (method: string) => (method === 'ListPodSandboxStats' ? { stats: pods } : { podMetrics }),
    [Symbol.dispose]: () => {},
  }) as unknown as CriClient

const metricsAt = (bytes: bigint) => [
  {
    podSandboxId: 'web-id',
    metrics: [metric('threads', 9n)],
    containerMetrics: [
      {
        containerId: 'web-c-id',
        metrics: [
          metric('fs_reads_bytes_total', bytes),
          metric('fs_reads_bytes_total', bytes),
          metric('threads', 7n),
        ],
      },
    ],
  },
]
const two = async () => {
  const idle = { s: 10n, cpuMs: 0n, rx: 0n }
  const before = await look(
    daemon([pod('idle', idle), pod('web', { ...idle, cpuMs: 500n })], metricsAt(100n)),
  )
  const later = { s: 12n, cpuMs: 100n, rx: 50n }
  const now = await look(
    daemon([pod('idle', later), pod('web', { s: 12n, cpuMs: 2500n, rx: 4096n })], metricsAt(2148n)),
  )
  return usageOf(before, now)
}

describe('two looks', () => {
  it('give rates, the busiest pod first', async () => {
    const all = busiestFirst(await two())
    expect(all.map((u) => u.id)).toEqual(['web-id', 'web-c-id', 'idle-id', 'idle-c-id'])
    expect(all[0]).toMatchObject({ cpuCores: 1, rxBytesPerSecond: 2048, tasks: 9, restarts: 0 })
    expect(all[1]).toMatchObject({ cpuCores: 1, readBytesPerSecond: 2048, tasks: 7, restarts: 3 })
    expect(all[1]?.rxBytesPerSecond).toBeUndefined()
  })

  it('of what has just come, or began anew, give none', async () => {
    const at = { s: 10n, cpuMs: 100n, rx: 0n }
    const now = await look(daemon([pod('web', at)]))
    const cores = (before: typeof now) => usageOf(before, now).map((u) => u.cpuCores)
    expect(cores([])).toEqual([undefined, undefined])
    expect(cores(await look(daemon([pod('web', { ...at, s: 9n, cpuMs: 200n })])))).toEqual([
      undefined,
      undefined,
    ])
    expect(cores(now)).toEqual([undefined, undefined])
  })
})

describe('words', () => {
  it.each([
    ['web', ['web-id', 'web-c-id']],
    ['default/web', ['web-id', 'web-c-id']],
    ['web/app', ['web-c-id']],
    ['default/idle/app', ['idle-c-id']],
    ['app', ['web-c-id', 'idle-c-id']],
    ['idle-i', ['idle-id', 'idle-c-id']],
  ])('%s', async (word, wanted) => {
    expect(chosen(busiestFirst(await two()), [word]).map((u) => u.id)).toEqual(wanted)
  })
  it('that name nothing are a failure that says so', async () => {
    const all = await two()
    expect(() => chosen(all, ['web', 'nobody'])).toThrow('nobody: no container or pod')
  })
})

describe('the picture', () => {
  it('has a line of sums and one for each', async () => {
    const [head, , heading, web = '', app = ''] = picture(busiestFirst(await two()), undefined)
    expect(head).toBe('2 pods, 2 containers, 1.05 cores')
    expect(heading).toMatch(/^POD \/ CONTAINER +ID +CPU/)
    expect(web).toMatch(/^default\/web +web-id +1\.000 +1\.0 MiB +- +- +2\.0 KiB +0 B +9 +0$/)
    expect(app).toMatch(/^ {2}app +web-c-id +1\.000 +1\.0 MiB +2\.0 KiB +- +- +- +7 +3$/)
  })
  it('has no more than the screen', async () => {
    const lines = picture(await two(), { rows: 5, columns: 20 })
    expect(lines).toHaveLength(4)
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(20)
  })
  it('has nothing that a terminal would carry out', () => {
    expect(usageTable([])).toMatch(/^POD/)
  })
})
