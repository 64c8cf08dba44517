// SPDX-License-Identifier: Apache-2.0
/** The plan of a container: what a request, its pod, its image and the machine become in one OCI spec. */
import { describe, expect, test } from 'vitest'
import { absPath } from '../../../../src/model/ids.ts'
import { planSpec } from '../../../../src/model/plan/container.ts'
import { type PlanChange, planInputs } from '../../../support/plan-inputs.ts'

const spec = (change: PlanChange = {}) => planSpec(planInputs(change))
const types = (change: PlanChange = {}) => spec(change).linux.namespaces.map((n) => n.type)
const inputs = planInputs()

describe('namespaces', () => {
  test('the pod’s are joined by their pins; mount, PID and cgroup are its own', () => {
    expect(spec().linux.namespaces).toEqual([
      { type: 'mount' },
      { type: 'pid' },
      { type: 'network', path: inputs.podPaths.netns },
      { type: 'uts', path: inputs.podPaths.utsns },
      { type: 'ipc', path: inputs.podPaths.ipcns },
      { type: 'cgroup' },
    ])
  })

  test('what the pod shares with the node is not made anew', () => {
    expect(types({ pod: { namespaces: { network: 'node', pid: 'node', ipc: 'node' } } })).toEqual([
      'mount',
      'pid',
      'cgroup',
    ])
  })

  test.each([
    ['container', undefined, { type: 'pid' }],
    ['node', undefined, undefined],
    ['pod', 41, { type: 'pid', path: '/proc/41/ns/pid' }],
    ['target', 42, { type: 'pid', path: '/proc/42/ns/pid' }],
  ] as const)('PID mode %s', (mode, pidOf, wanted) => {
    const pid = mode === 'target' ? ({ mode, target: 'x' } as const) : { mode }
    const got = spec({ security: { pid }, inputs: { pidOf } }).linux.namespaces
    expect(got.find((n) => n.type === 'pid')).toEqual(wanted)
  })

  test.each(['pod', 'target'] as const)('PID mode %s without that process is refused', (mode) => {
    const pid = mode === 'target' ? ({ mode, target: 'x' } as const) : { mode }
    expect(() => spec({ security: { pid } })).toThrow(/is not running/)
  })

  test('cgroups get a namespace on v2, and not when privileged', () => {
    expect(types({ facts: { cgroupVersion: 1 } })).not.toContain('cgroup')
    expect(types({ security: { privileged: true }, pod: { privileged: true } })).not.toContain('cgroup')
  })
})

describe('the process', () => {
  test('has the folder of the request, else of the image, else /', () => {
    expect(spec({ config: { workingDir: '/w' } }).process.cwd).toBe('/w')
    expect(spec().process.cwd).toBe('/work')
    const image = { env: [], entrypoint: ['/e'], cmd: [], workingDir: '' }
    expect(spec({ inputs: { image } }).process.cwd).toBe('/')
  })

  test('of another user keeps the bounding set, and is given only the ambient ones', () => {
    const user = { uid: 1000, gid: 1000, additionalGids: [1000], home: '/' }
    const { process } = spec({ inputs: { user } })
    expect(process.capabilities).toMatchObject({ effective: [], permitted: [], ambient: [] })
    expect(process.capabilities?.bounding.length).toBeGreaterThan(0)
    const capabilities = { add: [], drop: [], addAmbient: ['KILL'] }
    expect(spec({ inputs: { user }, security: { capabilities } }).process.capabilities?.effective).toEqual([
      'CAP_KILL',
    ])
  })

  test('no-new-privileges as asked for, privileged or not', () => {
    expect(spec({ security: { noNewPrivs: true } }).process.noNewPrivileges).toBe(true)
    expect(spec({ security: { noNewPrivs: false } }).process.noNewPrivileges).toBe(false)
    const privileged = { security: { noNewPrivs: true, privileged: true }, pod: { privileged: true } }
    expect(spec(privileged).process.noNewPrivileges).toBe(true)
  })

  test('oom_score_adj is as asked for, but no lower than the daemon may go', () => {
    const resources = { ...inputs.config.resources, oomScoreAdj: -998 }
    expect(spec({ config: { resources } }).process.oomScoreAdj).toBe(-998)
    expect(spec({ config: { resources }, facts: { minOomScoreAdj: -500 } }).process.oomScoreAdj).toBe(-500)
  })

  test('its host name is the pod’s, or the node’s on the node’s network', () => {
    expect(spec().process.env).toContain('HOSTNAME=web')
    const namespaces = { network: 'node', pid: 'pod', ipc: 'pod' } as const
    expect(spec({ pod: { namespaces } }).process.env).toContain('HOSTNAME=node-1')
    expect(spec({ pod: { hostname: '' } }).process.env).toContain('HOSTNAME=node-1')
  })
})

describe('profiles', () => {
  const localSeccomp = { defaultAction: 'SCMP_ACT_LOG', syscalls: [] }
  const seccomp = (change: PlanChange) => spec(change).linux.seccomp?.defaultAction

  test.each([
    [{ type: 'unset' }, undefined],
    [{ type: 'unconfined' }, undefined],
    [{ type: 'runtime-default' }, 'SCMP_ACT_ERRNO'],
    [{ type: 'localhost', ref: '/p' }, 'SCMP_ACT_LOG'],
  ] as const)('seccomp %o', (profile, action) => {
    expect(seccomp({ security: { seccomp: profile }, inputs: { localSeccomp } })).toBe(action)
  })

  test('32-bit programs are let through where the image has them', () => {
    const architectures = (smallPrograms: boolean) =>
      spec({ inputs: { smallPrograms } }).linux.seccomp?.architectures
    expect(architectures(false)).toHaveLength(1)
    expect(architectures(true)).toHaveLength(2)
  })

  test('a privileged container has none', () => {
    expect(seccomp({ security: { privileged: true }, pod: { privileged: true } })).toBeUndefined()
  })

  test('the default is left out where it cannot be loaded, a profile that was asked for is refused', () => {
    expect(seccomp({ facts: { seccomp: false } })).toBeUndefined()
    expect(seccomp({ handler: { seccomp: false } })).toBeUndefined()
    const asked = {
      security: { seccomp: { type: 'localhost', ref: '/p' } as const },
      inputs: { localSeccomp },
    }
    expect(() => spec({ ...asked, facts: { seccomp: false } })).toThrow(/cannot load profiles/)
  })

  test('the AppArmor profile is the one that was found, and none for a privileged container', () => {
    const inputs = { apparmorProfile: 'p' }
    expect(spec({ inputs }).process.apparmorProfile).toBe('p')
    const privileged = { security: { privileged: true }, pod: { privileged: true }, inputs }
    expect(spec(privileged).process.apparmorProfile).toBeUndefined()
    expect(spec().process.apparmorProfile).toBeUndefined()
  })
})

describe('paths that are masked or read-only', () => {
  test('are those of the request', () => {
    const got = spec({ security: { maskedPaths: ['/a'], readonlyPaths: [] } }).linux
    expect([got.maskedPaths, got.readonlyPaths]).toEqual([['/a'], []])
  })

  test('are none for a privileged container', () => {
    const got = spec({ security: { privileged: true, maskedPaths: ['/a'] }, pod: { privileged: true } }).linux
    expect([got.maskedPaths, got.readonlyPaths]).toEqual([undefined, undefined])
  })
})

test('a privileged container in a pod that is not is refused', () => {
  expect(() => spec({ security: { privileged: true } })).toThrow(/the pod sandbox is not privileged/)
})

test('cgroup, rootfs and version come from names and facts', () => {
  const got = spec({ handler: { ociVersion: '1.0.2' }, security: { readonlyRootfs: true } })
  expect(got).toMatchObject({
    ociVersion: '1.0.2',
    root: { path: inputs.paths.rootfs, readonly: true },
    linux: { cgroupsPath: `/kubepods/pod1/${'cd'.repeat(32)}` },
  })
  const cgroup = { parent: absPath('/a.slice'), sandbox: absPath('/a.slice/s'), ownsParent: false }
  const pod = { ...inputs.pod, cgroup, config: { ...inputs.pod.config, cgroupParent: 'a.slice' } }
  const systemd = spec({ facts: { cgroupDriver: 'systemd' }, inputs: { pod } })
  expect(systemd.linux.cgroupsPath).toBe(`a.slice:gantry:${'cd'.repeat(32)}`)
  expect(systemd.annotations).toBeUndefined()
  const below = { handler: { scopeSubgroup: 'container' }, inputs: { pod } }
  const annotated = (facts: object) => spec({ ...below, facts }).annotations
  expect(annotated({ cgroupDriver: 'systemd' })).toEqual({ 'run.oci.systemd.subgroup': 'container' })
  expect(annotated({ cgroupDriver: 'systemd', cgroupVersion: 1 })).toBeUndefined()
})

test('the spec is JSON as it is: nothing is lost on the way to the bundle', () => {
  const got = spec({ config: { tty: true } })
  expect(JSON.parse(JSON.stringify(got))).toEqual(got)
})
