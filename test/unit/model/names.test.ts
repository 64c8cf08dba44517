// SPDX-License-Identifier: Apache-2.0
/** Names: ids and paths are parsed or refused; every path and cgroup of an object follows from its id. */
import { describe, expect, test } from 'vitest'
import { absPath, clip, containerId, isIdPrefix, podId, under } from '../../../src/model/ids.ts'
import {
  containerCgroup,
  containerKey,
  containerPaths,
  podCgroup,
  podKey,
  podPaths,
  slicePath,
} from '../../../src/model/names.ts'

const id = 'ab'.repeat(32)
const roots = { root: absPath('/var/lib/gantry'), run: absPath('/run/gantry') }

describe('ids', () => {
  test('64 hex digits are an id, a part of them is a prefix', () => {
    expect([podId(id), containerId(id), isIdPrefix('a'), isIdPrefix(id)]).toEqual([id, id, true, true])
  })

  test.each(['', 'a', `${id}0`, id.toUpperCase(), `${id.slice(1)}\n`, `../${id.slice(3)}`])(
    '"%s" is refused',
    (text) => {
      expect(() => podId(text)).toThrow(/is not a pod sandbox id/)
      expect(() => containerId(text)).toThrow(/is not a container id/)
    },
  )

  test.each(['', 'xyz', `${id}0`, 'AB', 'a b', 'a\n'])('"%s" is no prefix of one', (text) => {
    expect(isIdPrefix(text)).toBe(false)
  })
})

describe('paths', () => {
  test.each([
    ['/', '/'],
    ['//a///b/./c/', '/a/b/c'],
    ['/a/..b/c..', '/a/..b/c..'],
  ])('%s is %s', (text, path) => {
    expect(absPath(text)).toBe(path)
  })

  test.each(['', 'a', './a', '/a/../b', '/..', '/a\0b'])('"%s" is refused', (text) => {
    expect(() => absPath(text)).toThrow(/absolute path|"\.\."/)
  })

  test('a component cannot climb out of its base', () => {
    expect(under(absPath('/a'), 'b', 'c')).toBe('/a/b/c')
    expect(() => under(absPath('/a'), '../b')).toThrow(/"\.\."/)
  })

  test('all paths of an object lie in its two folders', () => {
    const pod = podPaths(roots, podId(id))
    const container = containerPaths(roots, containerId(id))
    for (const path of Object.values(pod))
      expect(path).toMatch(new RegExp(`^/(var/lib|run)/gantry/pods/${id}`))
    for (const path of Object.values(container))
      expect(path).toMatch(new RegExp(`^/(var/lib|run)/gantry/containers/${id}`))
    // What the kernel lets a socket's path have (sun_path).
    expect(Buffer.byteLength(container.control)).toBeLessThan(108)
  })
})

test('text of a client in a message has no controls and an end', () => {
  expect(clip('a\nb\u0000\u007fc')).toBe('a?b??c')
  expect(clip('x'.repeat(101))).toBe(`${'x'.repeat(100)}…`)
})

describe('slices', () => {
  test.each([
    ['-.slice', '/'],
    ['a.slice', '/a.slice'],
    [
      'kubepods-burstable-pod1.slice',
      '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice',
    ],
    ['kubepods-pod1_2.slice', '/kubepods.slice/kubepods-pod1_2.slice'],
  ])('%s is kept in %s', (slice, path) => {
    expect(slicePath(slice)).toBe(path)
  })
})

describe('cgroups of a pod', () => {
  const fallback = absPath('/gantry')
  test.each([
    ['cgroupfs', '/kubepods/pod1', '/kubepods/pod1', `/kubepods/pod1/gantry-${id}`, false],
    ['cgroupfs', '/', '/', `/gantry-${id}`, false],
    ['cgroupfs', '', `/gantry/pod${id}`, `/gantry/pod${id}/${id}`, true],
    ['systemd', 'a-b.slice', '/a.slice/a-b.slice', `/a.slice/a-b.slice/gantry-${id}`, false],
    ['systemd', '/x/a-b.slice', '/a.slice/a-b.slice', `/a.slice/a-b.slice/gantry-${id}`, false],
    ['systemd', '', '/gantry.slice', `/gantry.slice/gantry-${id}`, false],
  ] as const)('%s with parent "%s"', (driver, parent, where, sandbox, ownsParent) => {
    expect(podCgroup(driver, { parent, fallback }, podId(id))).toEqual({ parent: where, sandbox, ownsParent })
  })

  test('a slice with cgroupfs is refused: it is no path', () => {
    expect(() => podCgroup('cgroupfs', { parent: 'a.slice', fallback }, podId(id))).toThrow(
      /not an absolute path/,
    )
  })

  test.each([
    ['cgroupfs', '/kubepods/pod1', { spec: `/kubepods/pod1/${id}`, path: `/kubepods/pod1/${id}` }],
    [
      'systemd',
      'a-b.slice',
      { spec: `a-b.slice:gantry:${id}`, path: `/a.slice/a-b.slice/gantry-${id}.scope` },
    ],
    ['systemd', '', { spec: `gantry.slice:gantry:${id}`, path: `/gantry.slice/gantry-${id}.scope` }],
  ] as const)('a container with %s below "%s"', (driver, parent, expected) => {
    const cgroup = podCgroup(driver, { parent, fallback }, podId(id))
    expect(containerCgroup(driver, { cgroup, requestedParent: parent }, id)).toEqual(expected)
  })

  test('a runtime that keeps its limits below the scope', () => {
    const cgroup = podCgroup('systemd', { parent: 'a.slice', fallback }, podId(id))
    const pod = { cgroup, requestedParent: 'a.slice', subgroup: 'container' }
    expect(containerCgroup('systemd', pod, id)).toEqual({
      spec: `a.slice:gantry:${id}`,
      path: `/a.slice/gantry-${id}.scope/container`,
    })
  })
})

test('keys tell attempts and namespaces apart', () => {
  const m = { name: 'n', namespace: 'ns', uid: 'u', attempt: 0 }
  const keys = [m, { ...m, attempt: 1 }, { ...m, namespace: 'other' }, { ...m, uid: 'v' }].map(podKey)
  expect(new Set(keys).size).toBe(4)
  expect(containerKey(podId(id), m)).not.toBe(containerKey(podId(id), { ...m, attempt: 1 }))
})

test('with the systemd driver a parent that is no slice is refused', () => {
  const request = { parent: '/kubepods/pod1', fallback: absPath('/g') }
  expect(() => podCgroup('systemd', request, podId(id))).toThrow(
    /cgroup_parent: "\/kubepods\/pod1" is not a slice/,
  )
  expect(podCgroup('cgroupfs', request, podId(id)).parent).toBe('/kubepods/pod1')
})
