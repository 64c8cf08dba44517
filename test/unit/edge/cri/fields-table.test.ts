// SPDX-License-Identifier: Apache-2.0
/**
 * The table of CRI fields against the proto and against the decoders: no field lacks a row, each field that is
 * honoured changes the command, each that is refused is refused by its name, and each that is recorded is taken.
 */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import protobuf from 'protobufjs'
import { describe, expect, it } from 'vitest'
import { disagreements, type Fate, fates, fieldsOfProto } from '../../../../scripts/cri-fields.ts'
import { decodeCreateContainer } from '../../../../src/edge/cri/decode/container.ts'
import { decodeRunPod } from '../../../../src/edge/cri/decode/pod.ts'
import { v1 } from '../../../../src/edge/cri/gen/api.js'

const repo = fileURLToPath(new URL('../../../../', import.meta.url))
const messages = fieldsOfProto()

it('has one row for every field of the proto, and none for others', () => {
  expect(disagreements()).toEqual([])
})

it('names proofs that are there', () => {
  const proofs = new Set(Object.values(fates).flatMap((rows) => Object.values(rows).map((r) => r.proof)))
  expect([...proofs].filter((file) => !existsSync(`${repo}${file}`))).toEqual([])
})

/** Values where the kind of the field does not say what is valid and other than the default. */
const samples: Readonly<Record<string, unknown>> = {
  'PodSandboxConfig.hostname': 'other',
  'PodSandboxConfig.log_directory': '/var/log/other',
  'DNSConfig.servers': ['10.0.0.1'],
  'PortMapping.host_ip': '10.0.0.1',
  'LinuxPodSandboxConfig.cgroup_parent': '/other',
  'LinuxContainerResources.cpu_period': 50_000,
  'LinuxContainerResources.cpu_quota': 50_000,
  'LinuxContainerResources.cpuset_cpus': '0',
  'LinuxContainerResources.cpuset_mems': '0',
  'LinuxContainerResources.unified': { 'memory.high': '1' },
  'ContainerConfig.working_dir': '/other',
  'ContainerConfig.log_path': 'other/0.log',
  'ContainerConfig.stop_signal': 3,
  'Mount.container_path': '/other',
  'Mount.host_path': '/other',
  'Mount.image_sub_path': 'other',
  'CDIDevice.name': 'v/c=other',
  'Device.container_path': '/dev/other',
  'Device.host_path': '/dev/other',
  'Device.permissions': 'r',
  'NamespaceOption.network': 2,
  'NamespaceOption.ipc': 2,
  'NamespaceOption.pid': 2,
  'UserNamespace.mode': 2,
  'UserNamespace.uids': [{ host_id: 7, length: 7 }],
  'UserNamespace.gids': [{ host_id: 7, length: 7 }],
  'Mount.uidMappings': [{ host_id: 7, length: 7 }],
  'Mount.gidMappings': [{ host_id: 7, length: 7 }],
  'Mount.mount_options': ['noexec'],
  'SecurityProfile.profile_type': 1,
  'SecurityProfile.localhost_ref': '/other',
  'LinuxContainerSecurityContext.masked_paths': ['/other'],
  'LinuxContainerSecurityContext.readonly_paths': ['/other'],
  'LinuxContainerSecurityContext.seccomp_profile_path': 'unconfined',
  'LinuxContainerSecurityContext.apparmor_profile': 'unconfined',
  'LinuxSandboxSecurityContext.seccomp_profile_path': 'unconfined',
  'SELinuxOption.level': 's0:c1,c2',
}

/** What has to be there beside a field for it to mean anything. */
const beside: Readonly<Record<string, object>> = {
  'LinuxSandboxSecurityContext.run_as_group': { run_as_user: { value: 5 } },
  'LinuxContainerSecurityContext.run_as_group': { run_as_user: { value: 5 } },
  'NamespaceOption.target_id': { pid: 3 },
  'SecurityProfile.localhost_ref': { profile_type: 2 },
  'UserNamespace.mode': { uids: [], gids: [] },
  'Mount.uidMappings': { gidMappings: [{ host_id: 1, length: 1 }] },
  'Mount.gidMappings': { uidMappings: [{ host_id: 1, length: 1 }] },
  'Mount.recursive_read_only': { readonly: true },
  'Mount.image': { host_path: '', readonly: true },
  'Mount.image_sub_path': { host_path: '', readonly: true, image: { image: 'example.com/a:1' } },
}

/** Where a field of a message that is used in several places has another fate than its row says. */
const elsewhere: Readonly<Record<string, Fate>> = {
  'PodSandboxConfig.linux.security_context.namespace_options.target_id': 'recorded',
  'ContainerConfig.linux.security_context.namespace_options.network': 'recorded',
  'ContainerConfig.linux.security_context.namespace_options.ipc': 'recorded',
}

/** Fields that make a message whole: they are there in both requests. */
const whole: Readonly<Record<string, object>> = {
  PodSandboxMetadata: { name: 'p', uid: 'u', namespace: 'n' },
  ContainerMetadata: { name: 'c' },
  ImageSpec: { image: 'example.com/a:1' },
  Mount: { container_path: '/a', host_path: '/b' },
  Device: { host_path: '/dev/null' },
  CDIDevice: { name: 'v/c=d' },
  UserNamespace: { uids: [{ host_id: 1, length: 1 }], gids: [{ host_id: 1, length: 1 }] },
  IDMapping: { host_id: 1, length: 1 },
  PortMapping: { container_port: 80 },
  HugepageLimit: { page_size: '2MB' },
  KeyValue: { key: 'A' },
}

const sampleOf = ({ way, field }: Place): unknown => {
  // The name of a profile that the kernel has, where seccomp's is a file.
  if (field.name === 'localhost_ref' && way.some((f) => f.name === 'apparmor')) return 'other'
  const known = samples[`${field.parent?.name}.${field.name}`]
  if (known !== undefined) return known
  const { resolvedType } = field
  const one = (): unknown => {
    if (resolvedType instanceof protobuf.Enum) return 1
    if (resolvedType instanceof protobuf.Type) return { ...whole[resolvedType.name] }
    if (field.type === 'string') return 'other'
    if (field.type === 'bytes') return Buffer.from('other')
    return field.type === 'bool' ? true : 7
  }
  if (field instanceof protobuf.MapField) return { other: 'other' }
  return field.repeated ? [one()] : one()
}

interface Place {
  /** From the top message down to the one that has the field. */
  readonly way: readonly protobuf.Field[]
  readonly field: protobuf.Field
}

/** Every field at every place where it can stand below a message. */
function placesBelow(message: string, way: readonly protobuf.Field[] = []): Place[] {
  return (messages.get(message) ?? []).flatMap((field) => {
    const here = { way, field }
    const { resolvedType } = field
    const deeper =
      resolvedType instanceof protobuf.Type && !way.includes(field)
        ? placesBelow(resolvedType.name, [...way, field])
        : []
    return [here, ...deeper]
  })
}

/** A request with `inner` at the end of the way, and around it what makes each message whole. */
function requestWith(
  top: 'PodSandboxConfig' | 'ContainerConfig',
  way: readonly protobuf.Field[],
  inner: object,
): object {
  const [next, ...rest] = way
  const base: object =
    top === 'PodSandboxConfig'
      ? { metadata: { ...whole.PodSandboxMetadata } }
      : { metadata: { ...whole.ContainerMetadata }, image: { ...whole.ImageSpec } }
  if (!next) return merge(base, inner)
  const put = (fields: readonly protobuf.Field[]): object => {
    const [field, ...deeper] = fields
    const type = field?.parent?.name ?? ''
    if (!field) return inner
    const kind = field.resolvedType?.name ?? ''
    const value = merge({ ...whole[kind] }, put(deeper))
    const around = { ...whole[type], ...beside[`${type}.${field.name}`] }
    return { ...around, [field.name]: field.repeated ? [value] : value }
  }
  return merge(base, put([next, ...rest]))
}

function merge(a: object, b: object): object {
  return { ...a, ...b }
}

const tops = ['PodSandboxConfig', 'ContainerConfig'] as const
const { root } = protobuf.parse(
  // The generated code speaks camel case; the reflection gets there through the wire.
  (await import('node:fs')).readFileSync(`${repo}proto/runtime/v1/api.proto`, 'utf8'),
  { keepCase: true },
)

function decoded(top: (typeof tops)[number], config: object): string {
  const pod = top === 'PodSandboxConfig'
  const type = root.lookupType(`runtime.v1.${pod ? 'RunPodSandboxRequest' : 'CreateContainerRequest'}`)
  const request = pod ? { config } : { config, pod_sandbox_id: 'p' }
  const bytes = type.encode(type.fromObject(request)).finish()
  const command = pod
    ? decodeRunPod(v1.RunPodSandboxRequest.decode(bytes))
    : decodeCreateContainer(v1.CreateContainerRequest.decode(bytes))
  return JSON.stringify(command, (_key, value: unknown) => (typeof value === 'bigint' ? `${value}n` : value))
}

/** The fate at this place: what is below a field that is refused or only recorded is so too. */
function fateAt(top: string, { way, field }: Place): Fate | undefined {
  const special = elsewhere[[top, nameOf({ way, field })].join('.')]
  if (special) return special
  const all = [...way, field].map((f) => fates[f.parent?.name ?? '']?.[f.name]?.fate)
  return (['refused', 'recorded'] as const).find((fate) => all.includes(fate)) ?? all.at(-1)
}

/** Leaves only: a message is honoured by its fields. */
const isLeaf = ({ way, field }: Place) =>
  !(field.resolvedType instanceof protobuf.Type) || fateAt('', { way, field }) === 'refused'
const nameOf = ({ way, field }: Place) => [...way, field].map((f) => f.name).join('.')

describe.each(tops)('%s', (top) => {
  const leaves = placesBelow(top).filter(isLeaf)

  const honoured = leaves.filter((p) => fateAt(top, p) === 'honoured')
  it.each(honoured.map((p) => [nameOf(p), p] as const))('%s changes the command', (_name, { way, field }) => {
    const key = `${field.parent?.name}.${field.name}`
    const without = requestWith(top, way, { ...whole[field.parent?.name ?? ''], ...beside[key] })
    const value = sampleOf({ way, field })
    const set = requestWith(top, way, {
      ...whole[field.parent?.name ?? ''],
      ...beside[key],
      [field.name]: value,
    })
    let before: string
    try {
      before = decoded(top, without)
    } catch {
      before = 'refused without it'
    }
    expect(decoded(top, set)).not.toBe(before)
  })

  const refused = leaves.filter((p) => fateAt(top, p) === 'refused')
  it.each(refused.map((p) => [nameOf(p), p] as const))('%s is refused by name', (_name, place) => {
    const { way, field } = place
    const fields = { ...whole[field.parent?.name ?? ''], [field.name]: sampleOf(place) }
    const named = [...way, field].find((f) => fates[f.parent?.name ?? '']?.[f.name]?.fate === 'refused')
    expect(() => decoded(top, requestWith(top, way, fields))).toThrow(named?.name)
  })

  const recorded = leaves.filter((p) => fateAt(top, p) === 'recorded')
  it.each(recorded.map((p) => [nameOf(p), p] as const))('%s is taken', (_name, place) => {
    const { way, field } = place
    const key = `${field.parent?.name}.${field.name}`
    // TARGET is no mode of a pod.
    const own = { ...whole[field.parent?.name ?? ''], ...(field.name === 'target_id' ? {} : beside[key]) }
    const set = requestWith(top, way, { ...own, [field.name]: sampleOf(place) })
    expect(() => decoded(top, set)).not.toThrow()
  })

  it('has both kinds', () => {
    expect(honoured.length).toBeGreaterThan(30)
    expect(refused.length).toBeGreaterThan(3)
  })
})
