// SPDX-License-Identifier: Apache-2.0
/** Mounts of a container: what everybody has, what a request puts over it, in which order, and what is refused. */
import { describe, expect, test } from 'vitest'
import type { MountRequest } from '../../../../src/model/container.ts'
import {
  allMounts,
  baseMounts,
  checkMount,
  declaredVolumes,
  rootfsPropagation,
  withSources,
} from '../../../../src/model/plan/spec/mounts.ts'

const plain = {
  privileged: false,
  readonlyRootfs: false,
  cgroupVersion: 2 as const,
  hostIpc: false,
  hostNetwork: false,
  userNamespace: false,
  shm: '/pod/shm',
  resolvConf: '/pod/resolv.conf',
  hostname: '/pod/hostname',
  hosts: '/pod/hosts',
}
const request = (containerPath: string, change: Partial<MountRequest> = {}): MountRequest => ({
  containerPath,
  hostPath: `/host${containerPath}`,
  readonly: false,
  recursiveReadOnly: false,
  selinuxRelabel: false,
  propagation: 'private',
  ...change,
})
const resolved = (...requests: readonly MountRequest[]) =>
  requests.map((r) => ({ request: r, source: r.hostPath }))
const places = (mounts: readonly { readonly destination: string }[]) => mounts.map((m) => m.destination)
const at = (mounts: ReturnType<typeof baseMounts>, path: string) => mounts.find((m) => m.destination === path)

describe('base mounts', () => {
  test('/proc comes before what lies in it, /dev before its own', () => {
    const order = places(baseMounts(plain))
    expect(order.slice(0, 3)).toEqual(['/proc', '/dev', '/dev/pts'])
    expect(new Set(order).size).toBe(order.length)
  })

  test('sysfs and cgroups are writable for privileged containers only', () => {
    for (const path of ['/sys', '/sys/fs/cgroup']) {
      expect(at(baseMounts(plain), path)?.options).toContain('ro')
      expect(at(baseMounts({ ...plain, privileged: true }), path)?.options).toContain('rw')
    }
  })

  test('the pod’s files are read-only exactly when the rootfs is', () => {
    for (const path of ['/etc/resolv.conf', '/etc/hostname', '/etc/hosts']) {
      expect(at(baseMounts(plain), path)?.options).toContain('rw')
      expect(at(baseMounts({ ...plain, readonlyRootfs: true }), path)?.options).toContain('ro')
    }
  })

  test('shared memory is the pod’s, or the host’s when it shares its IPC namespace', () => {
    expect(at(baseMounts(plain), '/dev/shm')?.source).toBe('/pod/shm')
    expect(at(baseMounts({ ...plain, hostIpc: true }), '/dev/shm')?.source).toBe('/dev/shm')
  })
})

describe('image volumes', () => {
  const image = { image: 'r.test/v:1', userSpecifiedImage: 'v', subPath: 'etc' }
  const wanted = { request: request('/v', { hostPath: '', image, readonly: true }), source: '/volumes/1/etc' }

  test('are read-only and private, their programs can be run, but give no rights and no devices', () => {
    const [mount] = allMounts([], [wanted])
    expect(mount?.options).toEqual(['rbind', 'rprivate', 'ro', 'nosuid', 'nodev'])
  })

  test('get the source that was found, other mounts keep theirs', () => {
    const mounts = allMounts([], [wanted, ...resolved(request('/w'))])
    const found = withSources(mounts, new Map([['/volumes/1/etc', '/volumes/1/real']]))
    expect(found.map((m) => m.source)).toEqual(['/volumes/1/real', '/host/w'])
  })
})

describe('requested mounts', () => {
  test('parents come before children, and of two on one place the later last', () => {
    const wanted = resolved(
      request('/a/b/c'),
      request('/a', { hostPath: '/first' }),
      request('/a/b'),
      request('/a', { hostPath: '/second' }),
    )
    const got = allMounts([], wanted)
    expect(places(got)).toEqual(['/a', '/a', '/a/b', '/a/b/c'])
    expect(got.slice(0, 2).map((m) => m.source)).toEqual(['/first', '/second'])
  })

  test.each([
    ['/etc/hosts', ['/etc/hosts']],
    ['/etc', ['/etc/resolv.conf', '/etc/hostname', '/etc/hosts']],
    ['/dev', ['/dev', '/dev/pts', '/dev/mqueue', '/dev/shm']],
    ['/dev/shm', ['/dev/shm']],
    ['/sys', ['/sys', '/sys/fs/cgroup']],
    ['/etc/host', []],
    ['/data', []],
  ])('one at %s takes the place of what is there and below', (path, replaced) => {
    const base = places(baseMounts(plain))
    const got = places(allMounts(baseMounts(plain), resolved(request(path))))
    expect(got).toEqual([...base.filter((p) => !replaced.includes(p)), path])
  })

  test.each([
    [{}, ['rbind', 'rprivate', 'rw']],
    [{ readonly: true }, ['rbind', 'rprivate', 'ro']],
    [{ readonly: true, recursiveReadOnly: true }, ['rbind', 'rprivate', 'rro']],
    [{ propagation: 'host-to-container' as const }, ['rbind', 'rslave', 'rw']],
    [{ propagation: 'bidirectional' as const, readonly: true }, ['rbind', 'rshared', 'ro']],
  ])('%o is %o', (change, options) => {
    expect(allMounts([], resolved(request('/a', change)))[0]).toMatchObject({ type: 'bind', options })
  })

  test('the source is the one with its links followed', () => {
    const got = allMounts([], [{ request: request('/a'), source: '/real' }])
    expect(got[0]?.source).toBe('/real')
  })
})

test('the rootfs propagates as far as any mount needs', () => {
  const of = (...kinds: readonly MountRequest['propagation'][]) =>
    rootfsPropagation(kinds.map((propagation) => request('/a', { propagation })))
  expect([
    of(),
    of('private'),
    of('private', 'host-to-container'),
    of('bidirectional', 'host-to-container'),
  ]).toEqual([undefined, undefined, 'rslave', 'rshared'])
})

describe('what a mount may ask for', () => {
  const can = { recursiveReadOnly: true, privileged: false }
  test.each([
    ['recursive without read-only', { recursiveReadOnly: true }, can, /needs readonly/],
    [
      'recursive with propagation',
      { recursiveReadOnly: true, readonly: true, propagation: 'bidirectional' as const },
      can,
      /needs private propagation/,
    ],
    [
      'recursive where the runtime cannot',
      { recursiveReadOnly: true, readonly: true },
      { ...can, recursiveReadOnly: false },
      /is not offered by this runtime/,
    ],
  ])('not %s', (_what, change, features, why) => {
    expect(() => checkMount(request('/data', change), features)).toThrow(why)
    expect(() => checkMount(request('/data', change), features)).toThrow('mount at /data')
  })

  test('recursive, read-only and private', () => {
    expect(() => checkMount(request('/a', { recursiveReadOnly: true, readonly: true }), can)).not.toThrow()
  })
})

describe('volumes that an image declares, under a read-only rootfs', () => {
  const mounts = allMounts(baseMounts(plain), resolved(request('/data/in'), request('/mine')))
  const volumes = (...paths: string[]) => declaredVolumes(paths, '/run/rootfs', mounts)

  test('are pieces of that rootfs, parents first, each once', () => {
    expect(volumes('/a/b', '/a', '/a')).toEqual(
      ['/a', '/a/b'].map((destination) => ({
        destination,
        type: 'bind',
        source: `/run/rootfs${destination}`,
        options: ['rbind', 'rprivate', 'rw'],
      })),
    )
  })

  test('are hidden by what is mounted there or above, not by what is mounted below', () => {
    expect(places(volumes('/mine', '/mine/deep', '/data/in', '/data', '/mine2'))).toEqual(['/data', '/mine2'])
  })

  test('are nothing where every container has something of its own, and not the root', () => {
    expect(volumes('', '/proc', '/proc/sys', '/dev/shm', '/sys', '/etc/hosts')).toEqual([])
    expect(places(volumes('/etc'))).toEqual(['/etc'])
  })
})
