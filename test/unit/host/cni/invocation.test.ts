// SPDX-License-Identifier: Apache-2.0
/** What plugins are told: arguments, capabilities by declaration, and nothing that a value smuggles in. */
import { describe, expect, test } from 'vitest'
import { parseConf } from '../../../../src/host/cni/conf.ts'
import {
  type PodNetworkRequest,
  pluginInput,
  toInvocation,
  unserved,
} from '../../../../src/host/cni/invocation.ts'

const request: PodNetworkRequest = {
  podId: 'p1',
  netns: '/run/ns/p1',
  podName: 'web-0',
  podNamespace: 'default',
  podUid: 'u-1',
  portMappings: [
    { protocol: 'tcp', containerPort: 80, hostPort: 8080, hostIp: '127.0.0.1' },
    { protocol: 'udp', containerPort: 53, hostPort: 0 },
  ],
  bandwidth: { ingressBps: 1_000_000n },
  dns: { servers: ['10.0.0.10'], searches: [], options: ['ndots:5'] },
  cgroupPath: '/kubepods/p1',
  annotations: { a: '5n' },
  ipRanges: [[{ subnet: '10.1.0.0/24' }]],
}

test('CNI_ARGS names the pod', () => {
  expect(toInvocation(request)).toMatchObject({
    containerId: 'p1',
    netns: '/run/ns/p1',
    ifName: 'eth0',
    args: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=p1;K8S_POD_UID=u-1',
  })
})

test.each([
  [{ podName: 'a;CNI_X=1' }, /K8S_POD_NAME/],
  [{ podName: 'a=b' }, /K8S_POD_NAME/],
  [{ podNamespace: 'a\0b' }, /K8S_POD_NAMESPACE/],
  [{ podUid: 'a\nb' }, /K8S_POD_UID/],
  [{ podId: '' }, /pod id/],
  [{ podId: '../x' }, /pod id/],
  [{ netns: 'relative' }, /namespace path/],
  [{ netns: '/a\0b' }, /namespace path/],
  [{ bandwidth: { egressBps: 1n << 60n } }, /egress bandwidth/],
])('refuses %o', (change, why) => {
  expect(() => toInvocation({ ...request, ...change })).toThrow(why)
})

describe('capabilities', () => {
  const { capabilityArgs } = toInvocation(request)
  const listWith = (capabilities: object) =>
    parseConf(
      'a.conflist',
      JSON.stringify({
        cniVersion: '1.0.0',
        name: 'n',
        plugins: [{ type: 'a', keep: 1, capabilities, runtimeConfig: { forged: 1 } }],
      }),
    )
  const inputWith = (capabilities: object) => {
    const list = listWith(capabilities)
    const [plugin] = list.plugins
    if (!plugin) throw new Error('the list is empty')
    return pluginInput(list, plugin, { capabilityArgs })
  }

  test('reach a plugin only if it declares them, and the declaration itself does not', () => {
    expect(inputWith({})).toEqual({ type: 'a', keep: 1, cniVersion: '1.0.0', name: 'n' })
    expect(inputWith({ dns: true, portMappings: false })).toEqual({
      type: 'a',
      keep: 1,
      cniVersion: '1.0.0',
      name: 'n',
      runtimeConfig: { dns: { servers: ['10.0.0.10'], searches: [], options: ['ndots:5'] } },
    })
  })

  test('have the forms of the conventions', () => {
    const input = inputWith({
      portMappings: true,
      bandwidth: true,
      ipRanges: true,
      cgroupPath: true,
      'io.kubernetes.cri.pod-annotations': true,
      infinibandGUID: true,
    })
    expect(input.runtimeConfig).toEqual({
      portMappings: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp', hostIP: '127.0.0.1' }],
      bandwidth: { ingressRate: 1_000_000, ingressBurst: 4_294_967_295 },
      ipRanges: [[{ subnet: '10.1.0.0/24' }]],
      cgroupPath: '/kubepods/p1',
      'io.kubernetes.cri.pod-annotations': { a: '5n' },
    })
  })

  test('that the pod does not ask for are absent', () => {
    const bare: PodNetworkRequest = {
      podId: 'p',
      netns: '/n',
      podName: 'a',
      podNamespace: 'b',
      podUid: 'c',
      portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 0 }],
      dns: { servers: [], searches: [], options: [] },
      annotations: {},
    }
    expect(toInvocation(bare).capabilityArgs).toEqual({})
  })

  test('that no plugin serves are named', () => {
    const invocation = toInvocation(request)
    expect(unserved(listWith({ bandwidth: true }), invocation)).toEqual(['portMappings', 'ipRanges'])
    expect(unserved(listWith({ bandwidth: true, portMappings: true, ipRanges: true }), invocation)).toEqual(
      [],
    )
  })
})
