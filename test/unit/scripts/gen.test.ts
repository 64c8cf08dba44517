// SPDX-License-Identifier: Apache-2.0
/**
 * The generator: what it reads from the vendored proto, and that it refuses input it does not know. The codec
 * itself is tried in int64.test.ts.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import {
  node,
  promisedSha256,
  readProto,
  redactModule,
  rewriteCodec,
  rewriteTypes,
  rpcsModule,
} from '../../../scripts/gen.ts'
import { v1 } from '../../../src/edge/cri/gen/api.js'
import { redacted } from '../../../src/edge/cri/gen/redact.ts'
import { rpcs } from '../../../src/edge/cri/gen/rpcs.ts'
import { v1 as nodeV1 } from '../../../src/edge/node/gen/api.js'
import { redacted as nodeRedacted } from '../../../src/edge/node/gen/redact.ts'
import { rpcs as nodeRpcs } from '../../../src/edge/node/gen/rpcs.ts'

const proto = readFileSync(new URL('../../../proto/runtime/v1/api.proto', import.meta.url), 'utf8')
const source = readFileSync(new URL('../../../proto/SOURCE', import.meta.url), 'utf8')

describe('gen', () => {
  test('the vendored proto is the promised one', () => {
    expect(createHash('sha256').update(proto).digest('hex')).toBe(promisedSha256(source))
    expect(() => promisedSha256('sha256 none')).toThrow(/no line/)
  })

  test('there are 43 RPCs, each with messages that the codec has', () => {
    expect(rpcs.length).toBe(43)
    expect(new Set(rpcs.map((r) => r.name)).size).toBe(43)
    for (const rpc of rpcs) {
      expect(proto).toMatch(
        new RegExp(`rpc ${rpc.name}\\(${rpc.request}\\) returns \\((stream )?${rpc.response}\\)`),
      )
      expect(rpc.path).toBe(`/runtime.v1.${rpc.service}/${rpc.name}`)
      expect(typeof v1[rpc.request].decode).toBe('function')
      expect(typeof v1[rpc.response].encode).toBe('function')
    }
    const streams = [...proto.matchAll(/rpc (\w+)\(\w+\) returns \(stream/g)].map((m) => m[1])
    expect(rpcs.flatMap((r) => (r.stream ? [r.name] : []))).toEqual(streams)
  })

  test('every field marked debug_redact is listed', async () => {
    expect(redacted.length).toBe(proto.match(/\[debug_redact = true\]/g)?.length)
    expect(redacted).toContain('AuthConfig.password')
    expect([...(await readProto(proto)).redacted]).toEqual([...redacted])
  })

  test('a proto without RPCs, or with a client stream, is refused', async () => {
    const head = 'syntax = "proto3"; package runtime.v1; message M { string a = 1 [debug_redact = true]; }'
    await expect(readProto(head)).rejects.toThrow(/no RPC/)
    await expect(readProto(`${head} service S { rpc A(stream M) returns (M) {} }`)).rejects.toThrow(/stream/)
  })

  test("the node's own service has its messages, one stream of requests, and no credential that may be logged", async () => {
    const text = readFileSync(new URL(`../../../proto/${node.proto}`, import.meta.url), 'utf8')
    expect(nodeRpcs.map((r) => r.name)).toEqual([...text.matchAll(/^ {2}rpc (\w+)\(/gm)].map((m) => m[1]))
    for (const rpc of nodeRpcs) {
      expect(rpc.path).toBe(`/gantry.v1.Node/${rpc.name}`)
      expect(typeof nodeV1[rpc.request].decode).toBe('function')
      expect(typeof nodeV1[rpc.response].encode).toBe('function')
    }
    expect(nodeRpcs.flatMap((r) => ('requestStream' in r ? [r.name] : []))).toEqual(['Load'])
    const secrets = Object.keys(nodeV1.Credentials.prototype).filter((f) => /password|token/i.test(f))
    expect([...nodeRedacted]).toEqual(expect.arrayContaining(secrets.map((f) => `Credentials.${f}`)))
    expect(nodeRedacted.length).toBe(text.match(/\[debug_redact = true\]/g)?.length)
  })

  test('code or types of another generator are refused, not passed on', () => {
    expect(() => rewriteCodec('import $protobuf from "protobufjs/minimal.js";')).toThrow(/rewriteCodec/)
    expect(() => rewriteTypes('export const x: Long\n')).toThrow(/rewriteTypes/)
  })

  test('the modules hold what they were given', () => {
    const rpc = { service: 'S', name: 'Do', request: 'DoRequest', response: 'DoResponse', stream: true }
    expect(rpcsModule([rpc])).toContain(
      "{ service: 'S', name: 'Do', path: '/runtime.v1.S/Do', request: 'DoRequest', response: 'DoResponse', stream: true }",
    )
    expect(redactModule(['A.b'])).toContain("'A.b',")
  })
})
