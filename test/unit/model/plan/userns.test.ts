// SPDX-License-Identifier: Apache-2.0
/** Plans of pods with a user namespace: what is made, what the runtimes are told, and what is refused. */
import { describe, expect, test } from 'vitest'
import { absPath, podId } from '../../../../src/model/ids.ts'
import { podPaths } from '../../../../src/model/names.ts'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { checkUserNamespace, pauseSpec, planNamespaces } from '../../../../src/model/plan/pod.ts'
import { facts, handlerFacts, podConfig } from '../../../support/fake-host-requests.ts'
import { type PlanChange, planInputs } from '../../../support/plan-inputs.ts'

const user = { uids: { hostId: 1000, length: 10 }, gids: { hostId: 2000, length: 20 } }
const namespaces = { ...podConfig.namespaces, user }
const paths = podPaths({ root: absPath('/lib'), run: absPath('/run') }, podId('ab'.repeat(32)))
const maps = {
  uidMappings: [{ containerID: 0, hostID: 1000, size: 10 }],
  gidMappings: [{ containerID: 0, hostID: 2000, size: 20 }],
}
const planned = (change: PlanChange = {}) =>
  planSpec(planInputs({ ...change, pod: { namespaces, ...change.pod } }))
const mount = {
  containerPath: '/data',
  hostPath: '/src',
  readonly: false,
  recursiveReadOnly: false,
  selinuxRelabel: false,
  propagation: 'private',
} as const
const withMount = (change: object) => planned({ config: { mounts: [{ ...mount, ...change }] } })

test('the namespace is pinned with the maps as the kernel reads them', () => {
  expect(planNamespaces({ ...podConfig, namespaces }, paths)).toMatchObject({
    user: paths.userns,
    uidMap: '0 1000 10',
    gidMap: '0 2000 20',
  })
  expect(planNamespaces(podConfig, paths)).not.toHaveProperty('user')
})

test('containers and the pause process join it by its pin, with the mappings beside', () => {
  const { linux } = planned()
  expect(linux).toMatchObject(maps)
  expect(linux.namespaces).toContainEqual({ type: 'user', path: paths.userns })
  const { pod } = planInputs({ pod: { namespaces } })
  const pause = pauseSpec(pod, paths, { facts, handler: handlerFacts }).linux
  expect(pause).toMatchObject(maps)
  expect(pause.namespaces).toContainEqual({ type: 'user', path: paths.userns })
  expect(planSpec(planInputs()).linux).not.toHaveProperty('uidMappings')
})

test.each([
  ['pod', 'sysfs'],
  ['node', 'bind'],
] as const)('with the network of the %s /sys is a %s', (network, type) => {
  const { mounts } = planned({ pod: { namespaces: { ...namespaces, network } } })
  expect(mounts.find((m) => m.destination === '/sys')).toMatchObject({ type })
})

describe('a pod is refused', () => {
  const check = (change: object, on: object = {}, handler: object = {}) => {
    const config = { ...podConfig, namespaces: { ...namespaces, ...change } }
    return () =>
      checkUserNamespace(config, { facts: { ...facts, ...on }, handler: { ...handlerFacts, ...handler } })
  }
  test.each([
    [
      'by a handler that cannot',
      check({}, {}, { userNamespaces: false }),
      /runtime handler runc runs no/,
      'unsupported',
    ],
    [
      'by a node that cannot',
      check({}, { noUserNamespaces: 'no idmap' }),
      /not on this node: no idmap/,
      'unsupported',
    ],
    ['with the PID namespace of the node', check({ pid: 'node' }), /pid NODE/, 'invalid'],
    ['with the IPC namespace of the node', check({ ipc: 'node' }), /ipc NODE/, 'invalid'],
  ])('%s', (_, call, why, kind) => {
    expect(call).toThrow(why)
    expect(call).toThrow(expect.objectContaining({ kind }))
  })

  test('for none of it without one', () => {
    expect(check({ user: undefined }, { noUserNamespaces: 'x' }, { userNamespaces: false })).not.toThrow()
    expect(check({})).not.toThrow()
  })
})

describe('a container is refused', () => {
  const other = { ...user, gids: { hostId: 1, length: 20 } }
  const said = (userns: typeof user | 'node') => () => planned({ security: { userns } })
  const who = (change: object) => () => {
    const u = { uid: 0, gid: 0, additionalGids: [0], home: '/' }
    return planned({ inputs: { user: { ...u, ...change } } })
  }
  test.each([
    ['with other mappings than the pod', said(other), /userns_options/],
    ['with the namespace of the node', said('node'), /userns_options/],
    ['with an unmapped user', who({ uid: 10 }), /user 10 is not mapped/],
    ['with an unmapped group', who({ additionalGids: [0, 20] }), /group 20 is not mapped/],
    ['with a mount of other mappings', () => withMount({ idmap: other }), /mount at \/data: uidMappings/],
    [
      'with mounts that spread to the node',
      () => withMount({ propagation: 'bidirectional' }),
      /out of a user namespace/,
    ],
  ])('%s', (_, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })

  test('with a user namespace or mappings in a pod that has none', () => {
    const plain = (change: PlanChange) => () => planSpec(planInputs(change))
    expect(plain({ security: { userns: user } })).toThrow(/userns_options/)
    expect(plain({ security: { userns: 'node' } })).not.toThrow()
    expect(plain({ config: { mounts: [{ ...mount, idmap: user }] } })).toThrow(/and it has none/)
  })

  test('but not where it says what the pod has, or nothing', () => {
    expect(said(user)).not.toThrow()
    expect(who({ uid: 9, gid: 19 })).not.toThrow()
    expect(() => withMount({ idmap: user, propagation: 'host-to-container' })).not.toThrow()
  })
})

test('mount options are added to those that the mount has, each once', () => {
  const image = { image: 'i', userSpecifiedImage: 'i', subPath: '' }
  const options = (change: object) => withMount(change).mounts.find((m) => m.destination === '/data')?.options
  expect(options({ options: ['noexec', 'noexec'] })).toEqual(['rbind', 'rprivate', 'rw', 'noexec'])
  expect(options({ image, readonly: true, options: ['nosuid', 'noexec'] })).toEqual([
    'rbind',
    'rprivate',
    'ro',
    'nosuid',
    'nodev',
    'noexec',
  ])
})
