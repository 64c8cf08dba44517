// SPDX-License-Identifier: Apache-2.0
/** What no request whatever may get out of the plan of a container, and what every spec has. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import type { ContainerSecurity, MountRequest } from '../../src/model/container.ts'
import { planSpec } from '../../src/model/plan/container.ts'
import type { OciSpec } from '../../src/model/plan/spec/oci.ts'
import { noResources } from '../../src/model/resources.ts'
import { CAPABILITIES, handlerFacts, security as plainSecurity } from '../support/fake-host-requests.ts'
import { planInputs } from '../support/plan-inputs.ts'

/** Mostly what is not refused. */
const mostly = <T>(usual: T, any: fc.Arbitrary<T>) =>
  fc.oneof({ weight: 3, arbitrary: fc.constant(usual) }, any)
const capability = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(...CAPABILITIES, 'ALL', 'all', 'net_admin') },
  fc.constantFrom('CAP_SYS_NICE', 'NOPE'),
)
const caps = fc.array(capability, { maxLength: 4 })
const segment = fc.constantFrom('dev', 'proc', 'sys', 'etc', 'hosts', 'shm', 'fs', 'cgroup', 'data', 'a')
const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((s) => `/${s.join('/')}`)
const profile = fc.constantFrom(
  { type: 'unset' } as const,
  { type: 'runtime-default' } as const,
  { type: 'unconfined' } as const,
  { type: 'localhost', ref: '/p' } as const,
)
const mount: fc.Arbitrary<MountRequest> = fc.record({
  containerPath: path,
  hostPath: path,
  readonly: fc.boolean(),
  recursiveReadOnly: mostly(false, fc.boolean()),
  selinuxRelabel: fc.boolean(),
  propagation: fc.constantFrom('private', 'host-to-container', 'bidirectional'),
})
const security: fc.Arbitrary<ContainerSecurity> = fc.record({
  privileged: mostly(false, fc.boolean()),
  capabilities: fc.record({ add: caps, drop: caps, addAmbient: caps }),
  user: fc.constant(plainSecurity.user),
  readonlyRootfs: fc.boolean(),
  noNewPrivs: fc.boolean(),
  maskedPaths: fc.array(path, { maxLength: 3 }),
  readonlyPaths: fc.array(path, { maxLength: 3 }),
  seccomp: profile,
  apparmor: mostly({ type: 'unset' }, profile),
  pid: fc.constantFrom(
    { mode: 'pod' } as const,
    { mode: 'container' } as const,
    { mode: 'node' } as const,
    { mode: 'target', target: 'x' } as const,
  ),
})
const pod = fc.record({
  privileged: fc.boolean(),
  namespaces: fc.record({
    network: fc.constantFrom('pod' as const, 'node' as const),
    pid: fc.constantFrom('pod' as const, 'container' as const, 'node' as const),
    ipc: fc.constantFrom('pod' as const, 'node' as const),
  }),
})
const inputs = fc
  .record({
    pod,
    security,
    mounts: fc.array(mount, { maxLength: 4 }),
    uid: fc.constantFrom(0, 1000),
    pidOf: mostly(41, fc.constantFrom(undefined, 41)),
    apparmorProfile: mostly('/p', fc.constantFrom(undefined, '/other')),
    smallPrograms: fc.boolean(),
    facts: fc.record({
      cgroupVersion: fc.constantFrom(1 as const, 2 as const),
      seccomp: fc.boolean(),
      apparmor: fc.boolean(),
      capabilities: mostly([...CAPABILITIES], fc.subarray([...CAPABILITIES])),
    }),
    handler: fc.record({
      recursiveReadOnlyMounts: mostly(true, fc.boolean()),
      seccomp: mostly(true, fc.boolean()),
    }),
    oomScoreAdj: fc.integer({ min: -1000, max: 1000 }),
  })
  .map((r) =>
    planInputs({
      pod: r.pod,
      security: r.security,
      facts: { ...r.facts, minOomScoreAdj: -500 },
      handler: { ...handlerFacts, ...r.handler },
      config: { mounts: r.mounts, resources: { ...noResources, oomScoreAdj: r.oomScoreAdj } },
      inputs: {
        pidOf: r.pidOf,
        apparmorProfile: r.apparmorProfile,
        smallPrograms: r.smallPrograms,
        user: { uid: r.uid, gid: 0, additionalGids: [], home: '/' },
        localSeccomp: { defaultAction: 'SCMP_ACT_ERRNO', syscalls: [] },
        hostDevices: [{ path: '/dev/sda', type: 'b', major: 8, minor: 0, mode: 0o600, uid: 0, gid: 0 }],
      },
    }),
  )
type Inputs = ReturnType<typeof planInputs>

/** Holds for every request that is not refused; a refusal is a Fault. Fails when nearly all are refused. */
function always(
  check: (spec: OciSpec, from: Inputs) => void,
  only: (from: Inputs) => boolean = () => true,
): void {
  let planned = 0
  fc.assert(
    fc.property(inputs, (from) => {
      if (!only(from)) return
      let spec: OciSpec
      try {
        spec = planSpec(from)
      } catch (e) {
        expect(isFault(e), String(e)).toBe(true)
        return
      }
      planned++
      check(spec, from)
    }),
    { numRuns: 600 },
  )
  expect(planned).toBeGreaterThan(40)
}

const types = (spec: OciSpec) => spec.linux.namespaces.map((n) => n.type)
const asked = (from: Inputs) => from.mounts.map((m) => m.request.containerPath)

test('a read-only rootfs never gets a writable mount of a file that lies in it', () => {
  always(
    (spec, from) => {
      for (const m of spec.mounts.filter((m) => !asked(from).includes(m.destination)))
        if (m.type === 'bind' && m.destination !== '/dev/shm') expect(m.options).toContain('ro')
      expect(spec.root.readonly).toBe(true)
    },
    (from) => from.config.security.readonlyRootfs,
  )
})

test('never a namespace of the host that was not asked for', () => {
  always((spec, from) => {
    const { namespaces } = from.pod.config
    expect(types(spec)).toContain('mount')
    expect(types(spec).includes('network')).toBe(namespaces.network === 'pod')
    expect(types(spec).includes('uts')).toBe(namespaces.network === 'pod')
    expect(types(spec).includes('ipc')).toBe(namespaces.ipc === 'pod')
    expect(types(spec).includes('pid')).toBe(from.config.security.pid.mode !== 'node')
    expect(new Set(types(spec)).size).toBe(types(spec).length)
  })
})

test('only a container in a privileged pod is privileged', () => {
  always((_spec, from) => {
    if (from.config.security.privileged) expect(from.pod.config.privileged).toBe(true)
  })
})

test('nothing is unmasked, and no device let through, unless privileged or asked for', () => {
  always(
    (spec, from) => {
      expect(spec.linux.maskedPaths).toEqual(from.config.security.maskedPaths)
      expect(spec.linux.readonlyPaths).toEqual(from.config.security.readonlyPaths)
      expect(spec.linux.resources.devices?.[0]).toEqual({ allow: false, access: 'rwm' })
      expect(spec.linux.devices ?? []).toEqual([])
      for (const path of ['/sys', '/sys/fs/cgroup']) {
        const base = spec.mounts.find((m) => m.destination === path && m.type !== 'bind')
        if (base) expect(base.options).toContain('ro')
      }
    },
    (from) => !from.config.security.privileged,
  )
})

test('capabilities: only known ones, no set beyond the bounding one, ambient within inheritable', () => {
  always((spec, from) => {
    const sets = spec.process.capabilities
    const bounding = sets?.bounding ?? []
    for (const c of bounding) expect(from.facts.capabilities).toContain(c)
    for (const set of Object.values(sets ?? {})) for (const c of set) expect(bounding).toContain(c)
    for (const c of sets?.ambient ?? []) {
      expect(sets?.inheritable).toContain(c)
      expect(sets?.permitted).toContain(c)
    }
  })
})

test('a user that is not root has no effective capability but those that were asked to be ambient', () => {
  always(
    (spec, from) => {
      if (from.config.security.capabilities.addAmbient.length === 0)
        expect(spec.process.capabilities?.effective).toEqual([])
    },
    (from) => from.user.uid !== 0,
  )
})

test('a profile that was asked for is there, or the request is refused; it is never left out in silence', () => {
  always(
    (spec, from) => {
      const { seccomp, apparmor } = from.config.security
      if (seccomp.type === 'localhost') expect(spec.linux.seccomp?.defaultAction).toBe('SCMP_ACT_ERRNO')
      if (apparmor.type === 'localhost') expect(spec.process.apparmorProfile).toBe('/p')
      if (seccomp.type === 'runtime-default' && from.facts.seccomp && from.handler.seccomp)
        expect(spec.linux.seccomp?.syscalls.length).toBeGreaterThan(0)
    },
    (from) => !from.config.security.privileged,
  )
})

test('no-new-privileges is set when it was asked for, and only then', () => {
  always((spec, from) => {
    expect(spec.process.noNewPrivileges).toBe(from.config.security.noNewPrivs)
  })
})

test('every requested mount is there, parents before children, with what it asked for', () => {
  always((spec, from) => {
    const own = spec.mounts.slice(spec.mounts.length - from.mounts.length)
    expect(own.map((m) => m.destination).sort()).toEqual([...asked(from)].sort())
    for (const [i, m] of own.entries())
      for (const later of own.slice(i + 1))
        expect(m.destination.startsWith(`${later.destination}/`)).toBe(false)
    for (const m of from.config.mounts.filter((m) => m.recursiveReadOnly))
      expect(from.handler.recursiveReadOnlyMounts && m.readonly && m.propagation === 'private').toBe(true)
  })
})

test('oom_score_adj stays within what the daemon may give, and the spec is plain JSON', () => {
  always((spec) => {
    expect(spec.process.oomScoreAdj).toBeGreaterThanOrEqual(-500)
    expect(JSON.parse(JSON.stringify(spec))).toEqual(spec)
  })
})
