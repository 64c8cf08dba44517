// SPDX-License-Identifier: Apache-2.0
/**
 * scenario-fuzz: arbitrary request messages for any RPC, made from the proto itself: every field absent, ordinary,
 * extreme or hostile. What a field can do to the host is bounded by its name: paths stay below a folder of the
 * test, images below registries on loopback, programs are harmless, times are short.
 */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { names } from '../images/catalog.ts'

const proto = join(dirname(fileURLToPath(import.meta.url)), '../../proto/runtime/v1/api.proto')
const { root } = protobuf.parse(readFileSync(proto, 'utf8'), { keepCase: false })
root.resolveAll()

/** Real things that a request may name. */
export interface Known {
  readonly podIds: readonly string[]
  readonly containerIds: readonly string[]
  /** A folder that hostile paths may lie in. */
  readonly folder: string
  /** A cgroup below which parents may be made. */
  readonly cgroup: string
}

const text = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'default', 'main', 'x-1') },
  { weight: 2, arbitrary: fc.constant('') },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      '..',
      '../../../etc',
      '/',
      'a/b',
      'a\0b',
      'a\nb',
      '-rf',
      '%s%n',
      '\u202e',
      '"{}"',
    ),
  },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }) },
  { weight: 1, arbitrary: fc.constantFrom(254, 5000, 300_000).map((n) => 'x'.repeat(n)) },
)
const int64 = fc.oneof(
  { weight: 3, arbitrary: fc.constantFrom(0n, 1n, 2n, 100n, 1000n, 65_536n, 1n << 26n) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(-1n, 1n << 31n, 1n << 32n, 1n << 53n, (1n << 63n) - 1n, -(1n << 63n)),
  },
)
const int32 = fc.constantFrom(0, 1, 2, 33, 80, 65_535, 70_000, -1, 2 ** 31 - 1, -(2 ** 31))

/** Values of fields that are paths of the node: below the folder, or nothing that could be made. */
function nodePaths({ folder }: Known): Readonly<Record<string, fc.Arbitrary<unknown>>> {
  const below = (...parts: string[]): string[] => parts.map((p) => join(folder, p))
  const nowhere = [
    '',
    'relative',
    '/../..',
    `${folder}/../x`,
    `${folder}/a\0`,
    `${folder}/${'y'.repeat(5000)}`,
  ]
  const path = fc.oneof(
    { weight: 4, arbitrary: fc.constantFrom(...below('a', 'b/c', 'file', 'link')) },
    { weight: 2, arbitrary: fc.constantFrom(...nowhere) },
    { weight: 1, arbitrary: fc.constantFrom('/dev/null', '/proc/self/mounts') },
  )
  const profiles = ['', 'runtime/default', 'unconfined', `localhost/${folder}/file`, 'nope']
  return {
    hostPath: path,
    localhostRef: path,
    logDirectory: fc.constantFrom(
      ...below('logs', 'logs/deep'),
      '',
      'relative',
      '/a/../../b',
      `${folder}/l\0`,
    ),
    seccompProfilePath: fc.constantFrom(...profiles),
  }
}

/** Ids, real ones most of the time. */
function idFields(known: Known): Readonly<Record<string, fc.Arbitrary<unknown>>> {
  const one = (ids: readonly string[]): fc.Arbitrary<string> =>
    fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(...ids) },
      { weight: 2, arbitrary: fc.constantFrom('', 'f'.repeat(64), '0', 'abc') },
      { weight: 1, arbitrary: text },
    )
  return {
    podSandboxId: one(known.podIds),
    containerId: one(known.containerIds),
    targetId: one(known.containerIds),
    id: one([...known.podIds, ...known.containerIds]),
  }
}

/** Fields by name whose values would reach beyond the test, or take the daemon's time. */
function bounded(known: Known): Readonly<Record<string, fc.Arbitrary<unknown>>> {
  const inside = fc.constantFrom(
    '/data',
    '/etc/hosts',
    '/',
    '/proc',
    '/dev/shm',
    'relative',
    '',
    '/a/../b',
    '/x\0',
  )
  const words = fc.constantFrom(
    ...[['true'], ['sh', '-c', 'exit 3'], ['/nope'], [''], [], ['a\0'], ['echo', 'x'.repeat(5000)]],
  )
  const images = [
    '',
    names.busybox,
    '127.0.0.1:1/none:1',
    'UPPER',
    'a@sha256:1',
    '/',
    'x\0',
    '127.0.0.1:1/a@sha256:0',
  ]
  return {
    ...nodePaths(known),
    ...idFields(known),
    containerPath: inside,
    workingDir: inside,
    cgroupParent: fc.constantFrom('', `${known.cgroup}/fuzz`, '/../..', 'x/../..', 'a\0'),
    image: fc.constantFrom(...images),
    command: words,
    args: words,
    cmd: words,
    timeout: fc.constantFrom(0n, 1n, -1n, 1n << 62n),
    runtimeHandler: fc.constantFrom('', 'runc', 'nope', '../runc'),
    sysctls: fc.dictionary(
      fc.constantFrom('net.ipv4.ip_unprivileged_port_start', 'kernel.shmmax', 'vm.swappiness', '../x', ''),
      fc.constantFrom('1', '', 'x', '1\n2'),
      { maxKeys: 2 },
    ),
  }
}

/** Arbitraries of all messages of the proto over one set of known things. */
export function fuzzer(known: Known): (message: string) => fc.Arbitrary<object> {
  const byName = bounded(known)

  function scalar(type: string): fc.Arbitrary<unknown> {
    switch (type) {
      case 'string':
        return text
      case 'bytes':
        return fc.uint8Array({ maxLength: 20 })
      case 'bool':
        return fc.boolean()
      case 'int64':
        return int64
      case 'uint64':
        return int64.map((n) => BigInt.asUintN(64, n))
      case 'double':
      case 'float':
        return fc.double()
      default:
        return type.startsWith('u') ? int32.map((n) => n >>> 0) : int32
    }
  }

  function one(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> | undefined {
    const { resolvedType } = field
    if (resolvedType instanceof protobuf.Enum) {
      const values = Object.values(resolvedType.values)
      return fc.oneof({ weight: 5, arbitrary: fc.constantFrom(...values) }, int32)
    }
    if (!(resolvedType instanceof protobuf.Type)) return scalar(field.type)
    return depth <= 0 ? undefined : message(resolvedType, depth - 1)
  }

  function contentOf(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> | undefined {
    const special = byName[field.name]
    const isMessage = field.resolvedType instanceof protobuf.Type
    if (special !== undefined && !isMessage) return special
    const value = one(field, depth)
    if (value === undefined) return undefined
    if (field instanceof protobuf.MapField)
      return fc.dictionary(text, value, { maxKeys: 3, noNullPrototype: true })
    return field.repeated ? fc.array(value, { maxLength: 3 }) : value
  }

  function message(type: protobuf.Type, depth: number): fc.Arbitrary<object> {
    const fields: Record<string, fc.Arbitrary<unknown>> = {}
    for (const field of type.fieldsArray) {
      const value = contentOf(field, depth)
      if (value !== undefined) fields[field.name] = value
    }
    return fc.record(fields, { requiredKeys: [] })
  }

  return (name) => message(root.lookupType(`runtime.v1.${name}`), 5)
}
