// SPDX-License-Identifier: Apache-2.0
/** CreateContainer and PullImage on the wire: carried over whole, every bad field named, nothing ignored. */
import { describe, expect, test } from 'vitest'
import { decodeCreateContainer } from '../../../../src/edge/cri/decode/container.ts'
import { requiredId } from '../../../../src/edge/cri/decode/fields.ts'
import { decodePull } from '../../../../src/edge/cri/decode/image.ts'
import type { v1 } from '../../../../src/edge/cri/gen/api.js'

type Config = v1.ContainerConfig.$Properties
type Security = v1.LinuxContainerSecurityContext.$Properties

const least = { metadata: { name: 'app' }, image: { image: 'r.test/a:1' } }
const decode = (config: Config) =>
  decodeCreateContainer({ podSandboxId: 'abc', config: { ...least, ...config } })
const security = (s: Security) => decode({ linux: { securityContext: s } })
const mount = (m: v1.Mount.$Properties) => decode({ mounts: [{ containerPath: '/a', hostPath: '/b', ...m }] })
const volume = (m: v1.Mount.$Properties) =>
  decode({ mounts: [{ containerPath: '/a', image: { image: 'r.test/v:1' }, readonly: true, ...m }] })
const device = (d: v1.Device.$Properties) => decode({ devices: [{ hostPath: '/dev/a', ...d }] })
const bytes = (text: string) => new TextEncoder().encode(text)
/** A value of an enum that the proto does not know: the wire carries any. */
const stranger = (value: number) => value as never
const many = <T>(n: number, value: T) => Array.from({ length: n }, () => value)

test('the least that is valid', () => {
  expect(decode({})).toMatchObject({
    pod: 'abc',
    config: {
      metadata: { name: 'app', attempt: 0 },
      command: [],
      mounts: [],
      resources: { cpuShares: 0n },
      security: {
        privileged: false,
        user: { uid: undefined, gid: undefined, name: '', groupsPolicy: 'merge' },
        pid: { mode: 'pod' },
        seccomp: { type: 'unset' },
      },
      stopSignal: undefined,
    },
  })
})

test('everything that can be said', () => {
  const { config } = decode({
    command: ['a', ''],
    args: ['b'],
    workingDir: '/w/',
    envs: [{ key: 'K', value: bytes('ä=\n') }],
    mounts: [
      { containerPath: '/c', hostPath: '/h', readonly: true, recursiveReadOnly: true, propagation: 1 },
    ],
    devices: [{ hostPath: '/dev/a', permissions: 'rw' }],
    logPath: 'a/0.log',
    tty: true,
    stdin: true,
    stdinOnce: true,
    stopSignal: 23,
    linux: {
      resources: { memoryLimitInBytes: -1n, unified: { 'memory.high': '1' } },
      securityContext: {
        capabilities: { addCapabilities: ['A'], dropCapabilities: ['ALL'], addAmbientCapabilities: ['B'] },
        runAsUser: { value: 0n },
        runAsGroup: { value: 4_294_967_294n },
        supplementalGroups: [1n],
        supplementalGroupsPolicy: 1,
        readonlyRootfs: true,
        noNewPrivs: true,
        maskedPaths: ['/p/'],
        readonlyPaths: ['/q'],
        apparmor: { profileType: 2, localhostRef: 'profile' },
        namespaceOptions: { pid: 3, targetId: 'abc' },
      },
    },
  })
  expect(config).toMatchObject({
    command: ['a', ''],
    args: ['b'],
    workingDir: '/w',
    env: [{ name: 'K', value: 'ä=\n' }],
    mounts: [
      { containerPath: '/c', readonly: true, recursiveReadOnly: true, propagation: 'host-to-container' },
    ],
    devices: [{ hostPath: '/dev/a', containerPath: '/dev/a', permissions: 'rw' }],
    logPath: 'a/0.log',
    tty: true,
    stdin: true,
    stdinOnce: true,
    stopSignal: 15,
    resources: { memoryLimitBytes: -1n, unified: { 'memory.high': '1' } },
    security: {
      capabilities: { add: ['A'], drop: ['ALL'], addAmbient: ['B'] },
      user: { uid: 0n, gid: 4_294_967_294n, supplementalGroups: [1n], groupsPolicy: 'strict' },
      readonlyRootfs: true,
      noNewPrivs: true,
      maskedPaths: ['/p'],
      readonlyPaths: ['/q'],
      apparmor: { type: 'localhost', ref: 'profile' },
      pid: { mode: 'target', target: 'abc' },
    },
  })
})

const huge = 'x'.repeat(3 * 1024 * 1024)

describe('every bad field is named', () => {
  test.each<[string, () => unknown, RegExp]>([
    ['no pod', () => decodeCreateContainer({ config: least }), /pod_sandbox_id: is required/],
    ['no configuration', () => decodeCreateContainer({ podSandboxId: 'a' }), /config: is required/],
    [
      'no metadata',
      () => decodeCreateContainer({ podSandboxId: 'a', config: { image: { image: 'a' } } }),
      /config\.metadata: is/,
    ],
    ['no image', () => decode({ image: {} }), /config\.image\.image: is required/],
    ['an image with a NUL', () => decode({ image: { image: 'a\0' } }), /config\.image\.image: has a NUL/],
    ['a NUL in the command', () => decode({ command: ['a\0'] }), /config\.command: has a NUL/],
    ['a NUL in the arguments', () => decode({ args: ['\0'] }), /config\.args: has a NUL/],
    [
      'more arguments than a kernel takes',
      () => decode({ args: [huge] }),
      /config\.args: is larger than 2097152 bytes/,
    ],
    [
      'a relative folder',
      () => decode({ workingDir: 'w' }),
      /config\.working_dir: "w" is not an absolute path/,
    ],
    [
      'a variable without a name',
      () => decode({ envs: [{ value: bytes('x') }] }),
      /config\.envs\[0\]\.key: ""/,
    ],
    [
      'a variable with = in its name',
      () => decode({ envs: [{ key: 'A' }, { key: 'A=B' }] }),
      /config\.envs\[1\]\.key: "A=B"/,
    ],
    [
      'a NUL in a variable',
      () => decode({ envs: [{ key: 'A', value: bytes('a\0b') }] }),
      /config\.envs\[0\]\.value: has a NUL/,
    ],
    [
      '3 MB of variables',
      () => decode({ envs: [{ key: 'A', value: bytes(huge) }] }),
      /config\.envs: is larger than/,
    ],
    [
      'a mount without a place',
      () => mount({ containerPath: '' }),
      /config\.mounts\[0\]\.container_path: is required/,
    ],
    [
      'a mount that climbs',
      () => mount({ containerPath: '/a/../../etc' }),
      /mounts\[0\]\.container_path: .*"\.\."/,
    ],
    ['a relative place', () => mount({ containerPath: 'a' }), /mounts\[0\]\.container_path: "a"/],
    [
      'a mount over everything',
      () => mount({ containerPath: '/' }),
      /container_path: is the root of the container/,
    ],
    ['a mount of nothing', () => mount({ hostPath: '' }), /mounts\[0\]\.host_path: is required/],
    ['a source that climbs', () => mount({ hostPath: '/a/..' }), /mounts\[0\]\.host_path/],
    [
      'an unknown propagation',
      () => mount({ propagation: stranger(3) }),
      /mounts\[0\]\.propagation: 3 is not allowed/,
    ],
    ['an image volume of nothing', () => volume({ image: {} }), /mounts\[0\]\.image\.image: is required/],
    [
      'an image volume that is a path of the node too',
      () => volume({ hostPath: '/h' }),
      /mounts\[0\]\.host_path: has to be empty beside image/,
    ],
    [
      'an image volume to write to',
      () => volume({ readonly: false }),
      /mounts\[0\]\.readonly: has to be set/,
    ],
    [
      'an image volume from which mounts spread',
      () => volume({ propagation: 2 }),
      /mounts\[0\]\.propagation: 2 is not allowed/,
    ],
    [
      'a sub path that climbs',
      () => volume({ imageSubPath: 'a/../..' }),
      /mounts\[0\]\.image_sub_path: .*leaves/,
    ],
    ['an absolute sub path', () => volume({ imageSubPath: '/etc' }), /mounts\[0\]\.image_sub_path: .*leaves/],
    ['a sub path of a plain mount', () => mount({ imageSubPath: 'a' }), /image_sub_path: needs image/],
    [
      'too many mounts',
      () => decode({ mounts: many(1025, { containerPath: '/a', hostPath: '/b' }) }),
      /config\.mounts: has more than 1024/,
    ],
    ['permissions that are none', () => device({ permissions: 'rwx' }), /devices\[0\]\.permissions: "rwx"/],
    ['a device without a path', () => device({ hostPath: '' }), /devices\[0\]\.host_path: is required/],
    [
      'too many devices',
      () => decode({ devices: many(513, { hostPath: '/dev/a' }) }),
      /config\.devices: has more than 512/,
    ],
    [
      'a log outside of the folder',
      () => decode({ logPath: '../x.log' }),
      /config\.log_path: "\.\.\/x\.log" leaves/,
    ],
    ['an absolute log', () => decode({ logPath: '/etc/passwd' }), /config\.log_path/],
    ['a log with a NUL', () => decode({ logPath: 'a\0' }), /config\.log_path: has a NUL/],
    [
      'a signal that is none',
      () => decode({ stopSignal: stranger(66) }),
      /config\.stop_signal: 66 is not a signal/,
    ],
    ['a negative signal', () => decode({ stopSignal: stranger(-1) }), /config\.stop_signal: -1/],
    ['a user out of range', () => security({ runAsUser: { value: 2n ** 32n } }), /run_as_user: 4294967296/],
    ['a negative user', () => security({ runAsUser: { value: -1n } }), /run_as_user: -1/],
    [
      'a group without a user',
      () => security({ runAsGroup: { value: 1n } }),
      /run_as_group: needs run_as_user/,
    ],
    [
      'a user name with a colon-less newline',
      () => security({ runAsUsername: 'a\nb' }),
      /run_as_username: has control/,
    ],
    ['a long user name', () => security({ runAsUsername: 'u'.repeat(257) }), /run_as_username: is longer/],
    [
      'a supplemental group out of range',
      () => security({ supplementalGroups: [-1n] }),
      /supplemental_groups: -1/,
    ],
    [
      'an unknown groups policy',
      () => security({ supplementalGroupsPolicy: stranger(2) }),
      /supplemental_groups_policy: 2/,
    ],
    ['a masked path that climbs', () => security({ maskedPaths: ['/a/../b'] }), /masked_paths: .*"\.\."/],
    ['an empty masked path', () => security({ maskedPaths: [''] }), /masked_paths: is required/],
    ['a relative read-only path', () => security({ readonlyPaths: ['a'] }), /readonly_paths: "a"/],
    [
      'an empty capability',
      () => security({ capabilities: { addCapabilities: [''] } }),
      /add_capabilities: is required/,
    ],
    [
      'too many capabilities',
      () => security({ capabilities: { dropCapabilities: many(129, 'A') } }),
      /drop_capabilities: has more/,
    ],
    ['a target without an id', () => security({ namespaceOptions: { pid: 3 } }), /target_id: is required/],
    [
      'annotations of 10 MB',
      () => decode({ annotations: { a: huge.repeat(4) } }),
      /config\.annotations: is larger than/,
    ],
  ])('%s', (_what, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(/^invalid container: /)
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})

test('an image volume, all of it or a part, is private whatever comes from the node', () => {
  const image = { image: 'r.test/v@sha256:1', userSpecifiedImage: 'v' }
  const { config } = volume({ image, imageSubPath: 'etc/a', propagation: 1, recursiveReadOnly: true })
  expect(config.mounts).toEqual([
    {
      containerPath: '/a',
      hostPath: '',
      image: { ...image, subPath: 'etc/a' },
      readonly: true,
      recursiveReadOnly: true,
      selinuxRelabel: false,
      propagation: 'private',
    },
  ])
  expect(volume({}).config.mounts[0]?.image).toEqual({
    image: 'r.test/v:1',
    userSpecifiedImage: '',
    subPath: '',
  })
})

describe('mappings and options of mounts', () => {
  const ids = [{ hostId: 1000, containerId: 0, length: 10 }]
  const range = { hostId: 1000, length: 10 }

  test('are taken as they are', () => {
    const [given] = mount({ uidMappings: ids, gidMappings: ids, mountOptions: ['noexec', 'nosuid'] }).config
      .mounts
    expect(given).toMatchObject({ idmap: { uids: range, gids: range }, options: ['noexec', 'nosuid'] })
    const [plain] = mount({}).config.mounts
    expect(plain).not.toHaveProperty('idmap')
    expect(plain).not.toHaveProperty('options')
  })

  test('a container says what its pod has', () => {
    const usernsOptions = { mode: 0, uids: ids, gids: ids }
    const told = (namespaceOptions: object) => security({ namespaceOptions }).config.security.userns
    expect(told({ usernsOptions })).toEqual({ uids: range, gids: range })
    expect(told({ usernsOptions: { mode: 2 } })).toBe('node')
    expect(told({})).toBeUndefined()
  })

  test.each<[string, () => unknown, RegExp]>([
    ['users alone', () => mount({ uidMappings: ids }), /mounts\[0\]\.gidMappings: has 0 mappings/],
    ['two ranges', () => mount({ uidMappings: [...ids, ...ids], gidMappings: ids }), /uidMappings: has 2/],
    [
      'an option that gives rights',
      () => mount({ mountOptions: ['dev'] }),
      /mount_options: "dev" is not one of/,
    ],
    ['an option with a value', () => mount({ mountOptions: ['size=1'] }), /noexec, nodev, nosuid/],
    ['too many', () => mount({ mountOptions: Array(17).fill('noexec') }), /has more than 16/],
  ])('%s are refused', (_what, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})

describe('what is not offered yet is refused, never ignored', () => {
  test.each<[string, () => unknown, RegExp]>([
    [
      'bytes that are no UTF-8',
      () => decode({ envs: [{ key: 'A', value: new Uint8Array([0xff]) }] }),
      /envs\[0\]\.value/,
    ],
  ])('%s', (_what, call, why) => {
    expect(call).toThrow(why)
    expect(call).toThrow(expect.objectContaining({ kind: 'unsupported' }))
  })

  test('together with a mistake it is a mistake', () => {
    const call = () => decode({ envs: [{ key: 'A', value: new Uint8Array([0xff]) }], workingDir: 'x' })
    expect(call).toThrow(expect.objectContaining({ kind: 'invalid' }))
  })
})

describe('ids', () => {
  test.each(['', 'a/b', 'a\nb', '\0', 'x'.repeat(254)])('%j is refused by its field', (id) => {
    expect(() => requiredId('container_id', id)).toThrow(/^invalid request: container_id: /)
  })

  test('missing is refused, anything plain goes on to be looked up', () => {
    expect(() => requiredId('container_id', undefined)).toThrow(/is required/)
    expect(requiredId('container_id', 'anything')).toBe('anything')
  })
})

describe('PullImage', () => {
  test('credentials go sealed: they show nowhere', () => {
    const auth = { username: 'me', password: 'secret-1', identityToken: 'secret-2' }
    const pull = decodePull({ image: { image: 'r.test/a:1' }, auth }, { runc: {} })
    expect(`${JSON.stringify(pull)} ${String(pull.auth)}`).not.toMatch(/secret|me"/)
    expect(pull.reference).toMatchObject({ path: 'a', tag: '1' })
  })

  test('the namespace is that of the pod, or empty', () => {
    const image = { image: 'r.test/a:1' }
    const sandboxConfig = { metadata: { name: 'p', namespace: 'prod' } }
    expect(decodePull({ image, sandboxConfig }, {}).namespace).toBe('prod')
    expect(decodePull({ image }, {}).namespace).toBe('')
  })

  test.each([
    [{}, /image\.image: is required/],
    [{ image: { image: 'a\0' } }, /image\.image: has a NUL/],
    [{ image: { image: 'a', annotations: { a: huge } } }, /image\.annotations: is larger/],
    [{ image: { image: 'a', runtimeHandler: 'kata' } }, /image\.runtime_handler: "kata" is not .*runc/],
    [
      { image: { image: 'a' }, sandboxConfig: { metadata: { namespace: 'a\0' } } },
      /sandbox_config\.metadata\.namespace: has/,
    ],
    [{ image: { image: 'a', userSpecifiedImage: 'a\0' } }, /image\.user_specified_image: has a NUL/],
  ])('%# is refused', (request, why) => {
    expect(() => decodePull(request, { runc: {} })).toThrow(why)
  })
})
