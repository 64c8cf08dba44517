// SPDX-License-Identifier: Apache-2.0
/** Pods with a kernel of their own: the specs of the sandbox and of what joins it, and what they refuse. */
import { describe, expect, it } from 'vitest'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { pauseSpec } from '../../../../src/model/plan/pod.ts'
import { checkSandboxedPod, hasPause } from '../../../../src/model/plan/sandboxed.ts'
import { podConfig } from '../../../support/fake-host-requests.ts'
import { type PlanChange, planInputs } from '../../../support/plan-inputs.ts'

const handler = { name: 'gvisor', sandboxed: true }
const inputs = (change: PlanChange = {}) =>
  planInputs({ ...change, handler: { ...handler, ...change.handler } })
const pod = { ...podConfig, sysctls: {} }

describe('the specs', () => {
  it('tell sandbox and containers apart, and have the hostname', () => {
    const i = inputs()
    const pause = pauseSpec(i.pod, i.podPaths, { facts: i.facts, handler: i.handler })
    expect(pause.annotations).toEqual({ 'io.kubernetes.cri.container-type': 'sandbox' })
    const spec = planSpec(i)
    expect(spec.annotations).toEqual({
      'io.kubernetes.cri.container-type': 'container',
      'io.kubernetes.cri.sandbox-id': `pause-${i.pod.id}`,
    })
    expect([pause.hostname, spec.hostname]).toEqual(['web', 'web'])
  })

  it('name no PID namespace where the pod shares one: it is the sandbox’s', () => {
    const types = (mode: 'pod' | 'container') =>
      planSpec(inputs({ security: { pid: { mode } }, inputs: { pidOf: 7 } })).linux.namespaces.map(
        (n) => n.type,
      )
    expect(types('container')).toContain('pid')
    expect(types('pod')).not.toContain('pid')
  })

  it('have no AppArmor profile, which would be nobody’s', () => {
    expect(planSpec(inputs({ inputs: { apparmorProfile: 'p' } })).process.apparmorProfile).toBeUndefined()
  })
})

it('such a pod has a pause process, and one of a handler that nobody knows may have', () => {
  const own = { ...pod, namespaces: { ...pod.namespaces, pid: 'container' as const } }
  expect([hasPause(own, handler), hasPause(own, undefined)]).toEqual([true, true])
  expect([hasPause(own, { name: 'runc' }), hasPause(pod, { name: 'runc' })]).toEqual([false, true])
})

describe('is refused by the field’s name', () => {
  it.each([
    ['linux.sysctls', { sysctls: { 'net.x': '1' } }],
    ['pid: NODE', { namespaces: { ...pod.namespaces, pid: 'node' as const } }],
    ['ipc: NODE', { namespaces: { ...pod.namespaces, ipc: 'node' as const } }],
  ])('of a pod: %s', (field, change) => {
    expect(() => checkSandboxedPod({ ...pod, ...change }, handler)).toThrow(field)
    expect(() => checkSandboxedPod({ ...pod, ...change }, { name: 'runc' })).not.toThrow()
  })

  const mount = { containerPath: '/m', hostPath: '/m', readonly: false, recursiveReadOnly: false }
  it.each<[string, PlanChange]>([
    ['pid: TARGET', { security: { pid: { mode: 'target', target: 'x' } } }],
    [
      'devices',
      { config: { devices: [{ hostPath: '/dev/null', containerPath: '/dev/x', permissions: 'r' }] } },
    ],
    ['seccomp', { security: { seccomp: { type: 'localhost', ref: 'x' } } }],
    ['apparmor', { security: { apparmor: { type: 'localhost', ref: 'x' } } }],
    [
      'mounts[0].propagation',
      { config: { mounts: [{ ...mount, selinuxRelabel: false, propagation: 'bidirectional' }] } },
    ],
  ])('of a container: %s', (field, change) => {
    expect(() => planSpec(inputs(change))).toThrow(field)
  })
})
