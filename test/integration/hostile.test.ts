// SPDX-License-Identifier: Apache-2.0
/**
 * Requests that no honest client sends: every field missing, oversized, contradictory or hostile. Each gets the
 * right code and hears which field it was; the daemon goes on; nothing is made on the host. The random half of
 * this is `hostile-fuzz.test.ts`.
 */
import { readdir } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { RpcName } from '../../src/edge/cri/gen/rpcs.ts'
import { rpcs } from '../../src/edge/cri/gen/rpcs.ts'
import type { UnaryName } from '../support/cri-client.ts'
import type { ContainerConfig, PodConfig, RunningPod } from '../support/cri-requests.ts'
import { expectNoLeaks, type Snapshot, snapshot } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { outcomeOf, refusalOf } from '../support/scenario-refusal.ts'
import { busybox, type Kept, kept } from '../support/scenario-run.ts'
import { badContainers, badNamespaces, badPods, big, MiB, type Row } from './hostile-requests.ts'

let s: Scenario
let pod: RunningPod
let running: Kept
let quiet: Snapshot
let files: readonly string[]
let pid: number

const everything = async () =>
  (await readdir(s.workspace.root, { recursive: true })).filter((f) => !/layers|log/.test(f))

beforeAll(async () => {
  s = await startScenario()
  pod = await s.pod('victim')
  running = await kept(s, pod)
  pid = s.daemon.pid
  quiet = await snapshot(s.workspace.leakScope())
  files = await everything()
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const cases = (rows: readonly Row[]) =>
  rows.map(([title, wrong, field, code = 'INVALID_ARGUMENT']) => [title, { wrong, field, code }] as const)

describe('RunPodSandbox with', () => {
  const runPod = (config: PodConfig, runtimeHandler = '') =>
    s.client.call('RunPodSandbox', { config, runtimeHandler })

  it.each(cases(badPods))('%s', async (_title, { wrong, field, code }) => {
    const base = s.podConfig('hostile', wrong)
    const refusal = await refusalOf(runPod({ ...base, ...wrong, linux: base.linux ?? null }))
    expect(refusal).toEqual({ code, details: expect.stringContaining(field) })
  })

  it.each(cases(badNamespaces))('%s', async (_title, { wrong: namespaceOptions, field, code }) => {
    const config = { ...s.podConfig('hostile'), linux: { securityContext: { namespaceOptions } } }
    expect(await refusalOf(runPod(config))).toEqual({ code, details: expect.stringContaining(field) })
  })

  it('an unknown handler, or one that is a path', async () => {
    for (const handler of ['nope', '../runc', 'a\0b'])
      expect(await refusalOf(runPod(s.podConfig('hostile'), handler))).toEqual({
        code: 'INVALID_ARGUMENT',
        details: expect.stringContaining('runtime_handler'),
      })
  })

  it('nothing at all, and many things wrong: all of them are named', async () => {
    const { details } = await refusalOf(s.client.call('RunPodSandbox', {}))
    for (const field of ['config', 'config.metadata', 'config.metadata.name', 'config.metadata.uid'])
      expect(details).toContain(`${field}: is required`)
    const config = { ...s.podConfig('x'), hostname: '!', logDirectory: 'x', labels: { a: big(2 * MiB) } }
    const many = (await refusalOf(runPod(config))).details
    for (const field of ['config.hostname', 'config.log_directory', 'config.labels'])
      expect(many).toContain(field)
  })
})

describe('CreateContainer with', () => {
  const create = (config: ContainerConfig | null, podSandboxId = pod.podId) =>
    s.client.call('CreateContainer', { podSandboxId, config, sandboxConfig: pod.config })

  it.each(cases(badContainers))('%s', async (_title, { wrong, field, code }) => {
    const config = busybox({ container: 'hostile', command: ['true'], ...wrong })
    expect(await refusalOf(create(config))).toEqual({ code, details: expect.stringContaining(field) })
  })

  it('no config, no pod, a pod that is a path', async () => {
    expect((await refusalOf(create(null))).details).toContain('config: is required')
    expect((await refusalOf(create(busybox(), ''))).details).toContain('pod_sandbox_id: is required')
    expect((await refusalOf(create(busybox(), '../../etc'))).details).toContain('pod_sandbox_id')
  })
})

describe('an id', () => {
  const byId: readonly (readonly [UnaryName, string, string, object])[] = [
    ['StopPodSandbox', 'podSandboxId', 'pod_sandbox_id', {}],
    ['RemovePodSandbox', 'podSandboxId', 'pod_sandbox_id', {}],
    ['PodSandboxStatus', 'podSandboxId', 'pod_sandbox_id', {}],
    ['StartContainer', 'containerId', 'container_id', {}],
    ['StopContainer', 'containerId', 'container_id', {}],
    ['RemoveContainer', 'containerId', 'container_id', {}],
    ['ContainerStatus', 'containerId', 'container_id', {}],
    ['ReopenContainerLog', 'containerId', 'container_id', {}],
    ['UpdateContainerResources', 'containerId', 'container_id', { linux: { cpuShares: 2n } }],
    ['ExecSync', 'containerId', 'container_id', { cmd: ['true'] }],
  ]

  it.each(byId)('%s: empty, a path, control characters, without end', async (rpc, key, field, more) => {
    for (const id of ['', '../../../etc/passwd', 'a\0b', 'a\nb', big(100_000)])
      expect(await refusalOf(s.client.call(rpc, { [key]: id, ...more }))).toEqual({
        code: 'INVALID_ARGUMENT',
        details: expect.stringContaining(field),
      })
  })
})

describe('other requests', () => {
  it('that change a running container are refused by the field, and it stays as it is', async () => {
    const containerId = running.id
    for (const [linux, field] of [
      [{ memoryLimitInBytes: -7n }, 'linux.memory_limit_in_bytes'],
      [{ cpuPeriod: 10n ** 12n }, 'linux.cpu_period'],
      [{ cpuQuota: 5n }, 'linux.cpu_quota'],
      [{ cpusetMems: '\n' }, 'linux.cpuset_mems'],
      [{ unified: { 'memory.max': '1' } }, 'unified'],
      [{ unified: { '../../x': '1' } }, 'unified'],
    ] as const) {
      const { code, details } = await refusalOf(
        s.client.call('UpdateContainerResources', { containerId, linux }),
      )
      expect([code, details]).toEqual(['INVALID_ARGUMENT', expect.stringContaining(field)])
    }
    expect(await refusalOf(s.client.call('StopContainer', { containerId, timeout: -1n }))).toEqual({
      code: 'INVALID_ARGUMENT',
      details: expect.stringContaining('timeout'),
    })
    expect(await running.sh('echo alive')).toBe('alive\n')
  })

  it.each([
    '',
    'UPPER',
    'a/UPPER',
    'a/../b',
    'registry/../../x',
    'a\nb',
    `a/${big(5000)}`,
    'a@sha256:12',
    ':',
    'a:b:c',
  ])('an image called %j is refused', async (image) => {
    const refusal = await refusalOf(s.client.call('PullImage', { image: { image } }))
    expect(refusal).toEqual({ code: 'INVALID_ARGUMENT', details: expect.stringContaining('image.image') })
  })

  it('without an image are refused by the field', async () => {
    for (const rpc of ['ImageStatus', 'RemoveImage', 'PullImage'] as const)
      expect((await refusalOf(s.client.call(rpc, {}))).details).toContain('image.image')
  })

  it('to a registry that does not answer end with the reason that the kubelet knows', async () => {
    const { code, details } = await refusalOf(
      s.client.call('PullImage', { image: { image: '127.0.0.1:1/none:1' } }, { deadlineMs: 60_000 }),
    )
    // The kubelet takes the reason from the beginning of the message, and only of an UNKNOWN.
    expect(code).toBe('UNKNOWN')
    expect(details).toMatch(/^RegistryUnavailable: .*127\.0\.0\.1:1/)
  })

  it('that are no protobuf are answered, and the next is, too', async () => {
    for (const { name } of rpcs.filter((r) => !r.stream)) {
      const bytes = Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3])
      expect((await outcomeOf(s.client.callRaw(name, bytes)))?.code, name).toMatch(/^[A-Z_]+$/)
    }
    expect((await s.client.call('Version', {})).runtimeName).toBe('gantry')
  })

  it('for what is not offered yet say what will bring it', async () => {
    const later: readonly RpcName[] = ['CheckpointContainer', 'CheckpointPod', 'RestorePod']
    for (const rpc of later) {
      const refusal = await refusalOf(s.client.callRaw(rpc, new Uint8Array()))
      expect(refusal).toEqual({ code: 'UNIMPLEMENTED', details: expect.stringContaining(rpc) })
    }
  })
})

it('after all that the daemon is the same, had no bug, and made nothing', async () => {
  expect(s.daemon.pid).toBe(pid)
  expect(s.daemon.events('bug')).toEqual([])
  await expectNoLeaks(quiet)
  expect(await everything()).toEqual(files)
  expect(await running.sh('echo alive')).toBe('alive\n')
})
