// SPDX-License-Identifier: Apache-2.0
/** SELinux labels: a level for each pod, options of the request over the machine's contexts, who is not confined. */
import { describe, expect, test } from 'vitest'
import type { ContainerSecurity } from '../../../../src/model/container.ts'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { isUnconfined, levelOf, planLabels, podLevel } from '../../../../src/model/plan/spec/selinux.ts'
import { type PlanChange, planInputs } from '../../../support/plan-inputs.ts'

const facts = {
  processContext: 'system_u:system_r:container_t:s0',
  fileContext: 'system_u:object_r:container_file_t:s0',
}
const options = (some: Partial<NonNullable<ContainerSecurity['selinux']>>) => ({
  user: '',
  role: '',
  type: '',
  level: '',
  ...some,
})
const labels = (change: PlanChange = {}, level = 's0:c1,c2') => {
  const { pod, config } = planInputs(change)
  return planLabels(config.security, { ...pod, ...(level === '' ? {} : { selinuxLevel: level }) }, facts)
}
const container_t = 'system_u:system_r:container_t'
const file = 'system_u:object_r:container_file_t'

describe('the level of a pod', () => {
  test('has two different categories in order, and comes from its id', () => {
    for (let i = 0; i < 500; i++) {
      const id = (i * 0x9e3779b97f).toString(16).padStart(64, '0').split('').reverse().join('')
      const [, low, high] = /^s0:c(\d+),c(\d+)$/.exec(levelOf(id, new Set())) ?? []
      expect(Number(low)).toBeLessThan(Number(high))
      expect(Number(high)).toBeLessThan(1024)
      expect(levelOf(id, new Set())).toBe(levelOf(id, new Set()))
    }
  })

  test('is never that of another pod, also when nearly all are taken', () => {
    const taken = new Set<string>()
    for (let i = 0; i < 2000; i++) {
      const level = levelOf('f'.repeat(64), taken)
      expect(taken.has(level)).toBe(false)
      taken.add(level)
    }
    const { pod } = planInputs()
    const first = podLevel(pod, facts, [])
    expect(podLevel(pod, facts, [{ ...pod, selinuxLevel: first ?? '' }])).not.toBe(first)
  })

  test('is the one of the request, and none without SELinux', () => {
    const { pod } = planInputs({ pod: { selinux: options({ level: 's0:c7,c8' }) } })
    expect(podLevel(pod, facts, [])).toBe('s0:c7,c8')
    expect(podLevel(pod, undefined, [])).toBeUndefined()
  })
})

describe('the labels of a container', () => {
  test.each<[string, PlanChange, string, string]>([
    ['nothing asked for', {}, `${container_t}:s0:c1,c2`, `${file}:s0:c1,c2`],
    ['a level', { security: { selinux: options({ level: 's0' }) } }, `${container_t}:s0`, `${file}:s0`],
    [
      'a whole context',
      {
        security: {
          selinux: { user: 'user_u', role: 'object_r', type: 'svirt_lxc_net_t', level: 's0:c4,c5' },
        },
      },
      'user_u:object_r:svirt_lxc_net_t:s0:c4,c5',
      'user_u:object_r:container_file_t:s0:c4,c5',
    ],
    [
      'the type of the pod, which the container does not say',
      { pod: { selinux: options({ type: 'pod_t' }) } },
      'system_u:system_r:pod_t:s0:c1,c2',
      `${file}:s0:c1,c2`,
    ],
    [
      'privileged',
      { pod: { privileged: true }, security: { privileged: true } },
      'system_u:system_r:spc_t:s0',
      `${file}:s0:c1,c2`,
    ],
    [
      'the host’s processes in sight',
      { security: { pid: { mode: 'node' } } },
      'system_u:system_r:spc_t:s0',
      `${file}:s0:c1,c2`,
    ],
    [
      'the host’s IPC in sight, but a type of its own',
      {
        pod: { namespaces: { network: 'pod', pid: 'pod', ipc: 'node' } },
        security: { selinux: options({ type: 'mine_t' }) },
      },
      'system_u:system_r:mine_t:s0',
      `${file}:s0:c1,c2`,
    ],
  ])('%s', (_what, change, process, mount) => {
    expect(labels(change)).toEqual({ process, mount })
  })

  test('a pod from before SELinux was switched on has level s0', () => {
    expect(labels({}, '')?.process).toBe(`${container_t}:s0`)
  })

  test('are in the spec where the machine has SELinux, and nowhere else', () => {
    const on = planSpec(planInputs({ facts: { selinux: facts } }))
    expect(on.process.selinuxLabel).toBe(`${container_t}:s0`)
    expect(on.linux.mountLabel).toBe(`${file}:s0`)
    const off = planSpec(planInputs({ security: { selinux: options({ level: 's0:c1' }) } }))
    expect([off.process.selinuxLabel, off.linux.mountLabel]).toEqual([undefined, undefined])
  })

  test('nothing is relabelled for a process that is not confined', () => {
    expect(isUnconfined('system_u:system_r:spc_t:s0')).toBe(true)
    expect(isUnconfined(`${container_t}:s0:c1,c2`)).toBe(false)
    expect(isUnconfined(undefined)).toBe(false)
  })
})
