// SPDX-License-Identifier: Apache-2.0
/**
 * Runtime handlers: which there are, what is said of one that this machine cannot run, one of the operator's own,
 * and configurations that are refused. Each handler that can be used runs a pod of every kind.
 */
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startChild } from '../support/child.ts'
import { namespaceMode } from '../support/cri-requests.ts'
import { expectNoLeaks } from '../support/leak-check.ts'
import { type Scenario, startScenario } from '../support/scenario.ts'
import { refusalOf } from '../support/scenario-refusal.ts'
import { kept, ran } from '../support/scenario-run.ts'
import { tomlOf } from '../support/workspace.ts'

const program = join(dirname(fileURLToPath(import.meta.url)), '../../bin/gantryd')
let s: Scenario

beforeAll(async () => {
  s = await startScenario({
    config: {
      'runtimes.mine.kind': '"runc"',
      'runtimes.mine.path': '"/usr/sbin/runc"',
      'runtimes.bare.kind': '"runc"',
      'runtimes.bare.privileged_without_host_devices': 'true',
      'runtimes.open.kind': '"runc"',
      'runtimes.open.privileged_without_host_devices': 'true',
      'runtimes.open.privileged_without_host_devices_all_devices_allowed': 'true',
    },
  })
})
afterAll(() => s?.end((before) => expectNoLeaks(before)))

const usable = async (): Promise<readonly string[]> =>
  (await s.client.call('Status', {})).runtimeHandlers?.flatMap((h) => h.name ?? []) ?? []

async function everyKindOfPod(handler: string): Promise<void> {
  for (const pid of [namespaceMode.container, namespaceMode.pod]) {
    const pod = await s.pod(`of-${handler}-${pid}`, { handler, bridged: true, pid })
    const linux = { securityContext: { namespaceOptions: { pid } } }
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    expect(status?.runtimeHandler).toBe(handler)
    expect((await ran(s, pod, 'echo out; exit 3', { linux })).status.exitCode).toBe(3)
    const c = await kept(s, pod, { linux })
    expect(await c.sh('echo in')).toBe('in\n')
    const MiB = 1024n * 1024n
    await s.client.call('UpdateContainerResources', {
      containerId: c.id,
      linux: { memoryLimitInBytes: 64n * MiB },
    })
    await pod.remove()
  }
}

describe('a handler', () => {
  it('runc is there, is the default, and runs every kind of pod', async () => {
    expect(await usable()).toContain('runc')
    expect(await usable()).toContain('')
    const pod = await s.pod('default')
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    expect(status?.runtimeHandler).toBe('runc')
    await pod.remove()
    await everyKindOfPod('runc')
  })

  it('crun runs every kind of pod, or is said not to run here and why', async () => {
    if ((await usable()).includes('crun')) return everyKindOfPod('crun')
    const { info } = await s.client.call('Status', { verbose: true })
    expect(info.problems).toMatch(/crun/)
    expect(await refusalOf(s.pod('no-crun', { handler: 'crun' }))).toEqual({
      code: 'FAILED_PRECONDITION',
      details: expect.stringMatching(/^runtime_handler: .*crun/),
    })
  })

  it('of the operator’s own is used under its name', async () => {
    expect(await usable()).toContain('mine')
    await everyKindOfPod('mine')
  })

  it('may keep the devices of the node from privileged containers, and the right to use them too', async () => {
    const seen = async (handler: string, privileged: boolean) => {
      const pod = await s.pod(`devices-${handler}-${privileged}`, { handler, privileged: true })
      const script =
        'ls /dev | tr "\\n" " "; mkdir -p /made; mknod /made/log c 1 11; true </made/log && echo used'
      const { stdout } = await ran(s, pod, script, { linux: { securityContext: { privileged } } })
      await pod.remove()
      return stdout
    }
    const plain = await seen('bare', false)
    expect(plain).not.toContain('used')
    expect(plain).not.toContain('kmsg')
    expect(await seen('bare', true)).toBe(plain)
    expect(await seen('open', true)).toBe(`${plain}used\n`)
    expect(await seen('runc', true)).toMatch(/ kmsg .*used/)
  })

  it('stays that of the pod after a restart', async () => {
    const pod = await s.pod('stays', { handler: 'mine' })
    const c = await kept(s, pod)
    await s.daemon.kill9()
    await s.daemon.restart()
    expect(await c.sh('echo still')).toBe('still\n')
    const { status } = await s.client.call('PodSandboxStatus', { podSandboxId: pod.podId })
    expect(status?.runtimeHandler).toBe('mine')
    await pod.remove()
  })
})

describe('a configuration is refused in a sentence', () => {
  async function refused(more: Readonly<Record<string, string>>): Promise<string> {
    const at = (name: string): string => JSON.stringify(join(s.workspace.root, name))
    const file = join(s.workspace.root, 'refused.toml')
    await writeFile(file, tomlOf({ root: at('state-r'), run_dir: at('run-r'), ...more }))
    const child = await startChild(program, ['--config', file], { env: { PATH: process.env.PATH } })
    try {
      expect((await child.exited).code).not.toBe(0)
      return child.tail()
    } finally {
      await child.end()
    }
  }

  it('with a runtime that is not installed', async () => {
    const said = await refused({ 'runtimes.x.kind': '"runc"', 'runtimes.x.path': '"/no/such/runc"' })
    expect(said).toContain('/no/such/runc')
  })

  it('with a runtime that is none', async () => {
    const said = await refused({
      default_runtime: '"x"',
      'runtimes.x.kind': '"runc"',
      'runtimes.x.path': '"/bin/false"',
    })
    expect(said).toMatch(/x/)
    expect(said).not.toMatch(/^ {4}at /m)
  })

  it('with a default that is not configured', async () => {
    expect(await refused({ default_runtime: '"nope"' })).toContain('nope')
  })
})
