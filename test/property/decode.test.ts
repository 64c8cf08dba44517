// SPDX-License-Identifier: Apache-2.0
/**
 * Whatever a client sends, in every RPC of the table: the answer is a message or a Fault, never another error.
 * Requests are made from the proto itself, with hostile text, extreme numbers and unknown enum values, and go
 * through the codec as on the wire.
 */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import protobuf from 'protobufjs'
import { expect, test } from 'vitest'
import { isFault } from '../../src/base/fault.ts'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import type { Call } from '../../src/edge/cri/context.ts'
import { v1 } from '../../src/edge/cri/gen/api.js'
import { rpcs } from '../../src/edge/cri/gen/rpcs.ts'
import { methods } from '../../src/edge/cri/methods.ts'
import { toGrpc } from '../../src/edge/cri/status.ts'
import { events } from '../../src/engine/events.ts'
import type { Engine } from '../../src/engine/index.ts'
import { catalog } from '../../src/engine/state/catalog.ts'
import { absPath, unixNanos } from '../../src/model/ids.ts'
import { facts } from '../support/fake-host-requests.ts'
import { fakeImages } from '../support/fake-images.ts'
import { imageRecord } from '../support/image-record.ts'

const proto = readFileSync(new URL('../../proto/runtime/v1/api.proto', import.meta.url), 'utf8')
const root = protobuf.parse(proto).root
root.resolveAll()

/** Lone halves of a character are not in it: the codec refuses them, as proto3 asks. */
const text = fc.oneof(
  fc.constantFrom('', 'a', 'web', '/a/b', '/', 'r.test/a:1', '0-3', 'CAP_KILL', 'runtime/default', 'x.slice'),
  fc.constantFrom('\0', '/a\0b', '..', '/a/../b', 'a\nb', '__proto__', 'constructor', 'toString', '5n', '//'),
  fc.string({ unit: 'binary', maxLength: 20 }),
  fc.integer({ min: 250, max: 5000 }).map((n) => 'x'.repeat(n)),
)
const int = (min: number, max: number) =>
  fc.oneof(
    fc.constantFrom(0, 1, -1, min, max).filter((n) => n >= min),
    fc.integer({ min, max }),
  )
const big = (min: bigint, max: bigint) =>
  fc.oneof(
    fc.constantFrom(0n, 1n, -1n, min, max).filter((n) => n >= min),
    fc.bigInt({ min, max }),
  )

const scalars: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  string: text,
  bool: fc.boolean(),
  bytes: fc.uint8Array({ maxLength: 40 }),
  int32: int(-(2 ** 31), 2 ** 31 - 1),
  uint32: int(0, 2 ** 32 - 1),
  int64: big(-(2n ** 63n), 2n ** 63n - 1n),
  uint64: big(0n, 2n ** 64n - 1n),
  double: fc.double(),
  float: fc.float(),
}

/** Values of a field's type; messages get shallower with `depth`. */
function ofField(field: protobuf.Field, depth: number): fc.Arbitrary<unknown> {
  const type = field.resolvedType
  if (type instanceof protobuf.Enum)
    return fc.oneof(fc.constantFrom(...Object.values(type.values)), fc.constantFrom(-1, 99, 2 ** 31 - 1))
  if (type instanceof protobuf.Type) return messageOf(type, depth - 1)
  const scalar = scalars[field.type]
  if (!scalar) throw new Error(`no values for the type ${field.type}`)
  return scalar
}

function messageOf(type: protobuf.Type, depth: number): fc.Arbitrary<Record<string, unknown>> {
  if (depth < 0) return fc.constant({})
  const fields: Record<string, fc.Arbitrary<unknown>> = {}
  for (const field of type.fieldsArray) {
    const value = ofField(field, depth)
    fields[field.name] =
      field instanceof protobuf.MapField
        ? fc.dictionary(text, value, { maxKeys: 3, noNullPrototype: true })
        : field.repeated
          ? fc.array(value, { maxLength: 3 })
          : value
  }
  return fc.record(fields, { requiredKeys: [], noNullPrototype: true })
}

const image = imageRecord('a')
const nothing = async () => {}
/** An engine that takes every command: what is tried here is the way to it and back. */
const engine: Engine = {
  pods: {
    run: async () => 'id',
    stop: nothing,
    remove: nothing,
    get: () => {
      throw new (class Unreached extends Error {})('pods.get')
    },
    list: () => [],
    containersOf: () => [],
    details: async () => ({ spec: {}, netns: '', cni: undefined, runtime: undefined }),
    portForward: async () => 'http://127.0.0.1:1/portforward/token',
    update: nothing,
  },
  containers: {
    create: async () => 'id',
    start: nothing,
    stop: nothing,
    remove: nothing,
    get: () => {
      throw new (class Unreached extends Error {})('containers.get')
    },
    list: () => [],
    details: async () => ({ spec: {}, rootfs: absPath('/r'), runtime: undefined }),
    update: nothing,
    execSync: async () => ({ code: 0, stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) }),
    reopenLog: nothing,
    exec: async () => 'http://127.0.0.1:1/exec/token',
    attach: async () => 'http://127.0.0.1:1/attach/token',
  },
  images: { ...fakeImages({ records: [image] }).images, pull: async () => image, remove: nothing },
  events: events({ catalog: catalog(), clock: { now: () => unixNanos(1n) } }),
  stats: {
    containers: async () => [],
    container: () => Promise.reject(new Error('containers.get comes first')),
    pods: async () => [],
    disk: () => Promise.reject(new Error('no disk')),
  },
  facts,
  defaultHandler: 'runc',
  health: async () => ({ runtimeReady: true, network: { ready: true, reason: '', message: '' } }),
  problems: () => [],
  work: () => ({ locks: [], joined: 0 }),
}
const scope: Scope = { signal: new AbortController().signal, log: silent }
const call: Call = {
  scope,
  engine,
  about: { version: '0', config: {}, dump: async () => ({}), log: { level: 'info' } },
}

interface Codec {
  encode(message: object): { finish(): Uint8Array }
  decode(bytes: Uint8Array): object
}
const codec = (name: string) => Reflect.get(v1, name) as unknown as Codec
type Run = (call: Call, request: object) => unknown

/** Carries out a request as the server does. Throws what the method throws. */
async function carryOut(name: keyof typeof methods, request: object): Promise<void> {
  const method = methods[name] as unknown as { is: 'unary' | 'stream'; run: Run }
  const answer = await method.run(call, request)
  if (method.is === 'stream')
    for await (const message of answer as AsyncIterable<object>) expect(message).toBeTypeOf('object')
  else expect(answer).toBeTypeOf('object')
}

const served = rpcs.filter((r) => methods[r.name].is !== 'later')

test('there are RPCs to try', () => {
  expect(served.length).toBeGreaterThan(20)
})

test.each(served)('$name', async ({ name, request }) => {
  const message = messageOf(root.lookupType(`runtime.v1.${request}`), 6)
  await fc.assert(
    fc.asyncProperty(message, async (value) => {
      const { encode, decode } = codec(request)
      const onWire = decode(encode(value).finish())
      try {
        await carryOut(name, onWire)
      } catch (e) {
        if (e instanceof Error && e.constructor.name === 'Unreached') return
        expect(isFault(e), `${String(e)} ${e instanceof Error ? e.stack : ''}`).toBe(true)
        // A status that gRPC can send: printable, and small enough for a header.
        const { details } = toGrpc(e)
        expect(details.length).toBeLessThan(5000)
      }
    }),
    { numRuns: 150 },
  )
})
