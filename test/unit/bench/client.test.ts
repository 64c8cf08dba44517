// SPDX-License-Identifier: Apache-2.0
/** The client against a server that knows one RPC: replies are decoded, refusals say which RPC and why. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Server, ServerCredentials, type sendUnaryData, status } from '@grpc/grpc-js'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { CriClient, RpcError } from '../../../bench/client.ts'

const folder = mkdtempSync(join(tmpdir(), 'gt-bench-test-'))
const socket = join(folder, 'cri.sock')
const server = new Server()
const pass = (bytes: Buffer) => bytes
const method = (name: string) => ({
  path: `/runtime.v1.RuntimeService/${name}`,
  requestStream: false,
  responseStream: false,
  requestSerialize: pass,
  requestDeserialize: pass,
  responseSerialize: pass,
  responseDeserialize: pass,
})
let stopRequest: Buffer | undefined
let client: CriClient

beforeAll(async () => {
  server.addService(
    {
      Version: method('Version'),
      StopContainer: method('StopContainer'),
      StartContainer: method('StartContainer'),
    },
    {
      // VersionResponse { runtime_name (2): "fake", runtime_version (3): "v1" }
      Version: (_: unknown, done: sendUnaryData<Buffer>) => done(null, Buffer.from('\x12\x04fake\x1a\x02v1')),
      StopContainer: (call: { request: Buffer }, done: sendUnaryData<Buffer>) => {
        stopRequest = call.request
        done(null, Buffer.alloc(0))
      },
      StartContainer: (_: unknown, done: sendUnaryData<Buffer>) =>
        done({ code: status.NOT_FOUND, details: 'no container c1' }),
    },
  )
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix:${socket}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    )
  })
  client = new CriClient(socket)
})

afterAll(() => {
  client.close()
  server.forceShutdown()
  rmSync(folder, { recursive: true })
})

it('decodes a reply and times the call', async () => {
  const { reply, ms } = await client.call('Version')
  expect(reply).toMatchObject({ runtimeName: 'fake', runtimeVersion: 'v1' })
  expect(ms).toBeGreaterThan(0)
})

it('sends the fields by their numbers', async () => {
  await client.call('StopContainer', { containerId: 'c1', timeout: 10 })
  expect(stopRequest).toEqual(Buffer.from('\x0a\x02c1\x10\x0a'))
})

it('tells an RPC that is missing from one that fails', async () => {
  const refusal = async (work: Promise<unknown>) => {
    const error = await work.catch((reason: unknown) => reason)
    if (!(error instanceof RpcError)) throw new Error(`not an RpcError: ${String(error)}`)
    return error
  }
  const missing = await refusal(client.call('ListContainerStats'))
  expect(missing.unimplemented).toBe(true)
  expect(missing.message).toMatch(/^ListContainerStats: UNIMPLEMENTED/)
  const failed = await refusal(client.call('StartContainer', { containerId: 'c1' }))
  expect(failed.unimplemented).toBe(false)
  expect(failed.message).toBe('StartContainer: NOT_FOUND: no container c1')
})
