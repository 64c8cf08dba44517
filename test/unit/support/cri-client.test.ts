// SPDX-License-Identifier: Apache-2.0
/**
 * The CRI client against a small server in this process: what is sent arrives, what comes back is plain, errors
 * keep their code, and calls end when told to.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as grpc from '@grpc/grpc-js'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { v1 } from '../../../src/edge/cri/gen/api.js'
import type { CriClient } from '../../support/cri-client.ts'
import { codeOf, connect, status } from '../../support/cri-client.ts'
import { containerConfig, hostNetworkPod, namespaceMode, podConfig } from '../../support/cri-requests.ts'

const same = (b: Buffer): Buffer => b
const method = (name: string, responseStream: boolean): grpc.MethodDefinition<Buffer, Buffer> => ({
  path: `/runtime.v1.RuntimeService/${name}`,
  requestStream: false,
  responseStream,
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
})

let dir: string
let server: grpc.Server
let client: CriClient
/** The last request, as it came over the wire. */
let seen: Buffer
let streamsCancelled = 0

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'gt-client-'))
  server = new grpc.Server()
  server.addService(
    {
      Version: method('Version', false),
      CreateContainer: method('CreateContainer', false),
      ContainerStatus: method('ContainerStatus', false),
      Status: method('Status', false),
      GetContainerEvents: method('GetContainerEvents', true),
    },
    {
      Version: (call: grpc.ServerUnaryCall<Buffer, Buffer>, reply: grpc.sendUnaryData<Buffer>) => {
        seen = call.request
        reply(null, Buffer.from(v1.VersionResponse.encode({ runtimeName: 'fake' }).finish()))
      },
      CreateContainer: (call: grpc.ServerUnaryCall<Buffer, Buffer>, reply: grpc.sendUnaryData<Buffer>) => {
        seen = call.request
        reply(null, Buffer.from(v1.CreateContainerResponse.encode({ containerId: 'c' }).finish()))
      },
      ContainerStatus: (call: grpc.ServerUnaryCall<Buffer, Buffer>, reply: grpc.sendUnaryData<Buffer>) => {
        const id = v1.ContainerStatusRequest.decode(call.request).containerId
        if (id === '') reply({ code: grpc.status.NOT_FOUND, details: 'no container ""' })
        else {
          const finishedAt = 1_700_000_000_123_456_789n
          const message = { status: { id, finishedAt, exitCode: -1, mounts: [{ readonly: true }] } }
          reply(null, Buffer.from(v1.ContainerStatusResponse.encode(message).finish()))
        }
      },
      Status: () => {}, // never answers
      GetContainerEvents: (call: grpc.ServerWritableStream<Buffer, Buffer>) => {
        call.on('cancelled', () => streamsCancelled++)
        for (const containerId of ['a', 'b'])
          call.write(Buffer.from(v1.ContainerEventResponse.encode({ containerId }).finish()))
      },
    },
  )
  const socket = join(dir, 's')
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, grpc.ServerCredentials.createInsecure(), (e) =>
      e === null ? resolve() : reject(e),
    )
  })
  client = connect(socket)
})

afterAll(async () => {
  client.close()
  server.forceShutdown()
  await rm(dir, { recursive: true, force: true })
})

describe('a call', () => {
  it('gives a plain object with every field', async () => {
    const reply = await client.call('Version', { version: 'v1' })
    expect(reply).toEqual({ version: '', runtimeName: 'fake', runtimeVersion: '', runtimeApiVersion: '' })
    expect(Object.getPrototypeOf(reply)).toBe(Object.prototype)
    expect(v1.VersionRequest.decode(seen).version).toBe('v1')
  })

  it('gives 64-bit numbers as bigint, and nested messages with their defaults', async () => {
    const { status: s } = await client.call('ContainerStatus', { containerId: 'x' })
    expect(s).toMatchObject({ id: 'x', finishedAt: 1_700_000_000_123_456_789n, startedAt: 0n, exitCode: -1 })
    expect(s?.mounts?.[0]).toMatchObject({ readonly: true, hostPath: '' })
    expect(s?.metadata).toBe(null)
  })

  it('sends bytes that are not text', async () => {
    const value = Buffer.from([0xff, 0, 0x3d])
    await client.call('CreateContainer', { config: { envs: [{ key: 'K', value }] } })
    expect(v1.CreateContainerRequest.decode(seen).config?.envs?.[0]?.value).toEqual(value)
  })

  it('sends raw bytes as they are', async () => {
    await client.callRaw('Version', Buffer.from([0x0a, 0x01, 0x61]))
    expect(seen).toEqual(Buffer.from([0x0a, 0x01, 0x61]))
  })

  it('fails with the code and the words of the server', async () => {
    const failed: unknown = await client.call('ContainerStatus', { containerId: '' }).catch((e: unknown) => e)
    expect(codeOf(failed)).toBe(status.NOT_FOUND)
    expect(failed).toMatchObject({ details: 'no container ""' })
    const unknown: unknown = await client.call('ListImages', {}).catch((e: unknown) => e)
    expect(codeOf(unknown)).toBe(status.UNIMPLEMENTED)
  })

  it('ends at its deadline and when it is cancelled', async () => {
    const late: unknown = await client.call('Status', {}, { deadlineMs: 50 }).catch((e: unknown) => e)
    expect(codeOf(late)).toBe(status.DEADLINE_EXCEEDED)
    const given: unknown = await client
      .call('Status', {}, { signal: AbortSignal.timeout(50) })
      .catch((e: unknown) => e)
    expect(codeOf(given)).toBe(status.CANCELLED)
  })

  it('waits for a socket that is not there yet only when told to', async () => {
    const early = connect(join(dir, 'none'))
    const failed: unknown = await early.call('Version', {}, { deadlineMs: 2000 }).catch((e: unknown) => e)
    expect(codeOf(failed)).toBe(status.UNAVAILABLE)
    const waited: unknown = await early
      .call('Version', {}, { deadlineMs: 200, waitForReady: true })
      .catch((e: unknown) => e)
    expect(codeOf(waited)).toBe(status.DEADLINE_EXCEEDED)
    early.close()
  })
})

describe('a stream', () => {
  it('gives its messages, and is cancelled when the loop is left', async () => {
    const before = streamsCancelled
    const got: string[] = []
    for await (const event of client.stream('GetContainerEvents', {})) {
      got.push(event.containerId)
      if (got.length === 2) break
    }
    expect(got).toEqual(['a', 'b'])
    await expect.poll(() => streamsCancelled).toBe(before + 1)
  })

  it('fails with its code at the deadline', async () => {
    const read = async (): Promise<void> => {
      for await (const _ of client.stream('GetContainerEvents', {}, { deadlineMs: 100 }));
    }
    const failed: unknown = await read().catch((e: unknown) => e)
    expect(codeOf(failed)).toBe(status.DEADLINE_EXCEEDED)
  })
})

describe('requests', () => {
  it('are a pod and a container as the kubelet makes them', () => {
    const pod = podConfig('p', { linux: { cgroupParent: '/x' }, logDirectory: '/l' })
    expect(pod).toMatchObject({
      metadata: { name: 'p', namespace: 'default' },
      logDirectory: '/l',
      linux: { cgroupParent: '/x', securityContext: { namespaceOptions: { pid: namespaceMode.container } } },
    })
    expect(hostNetworkPod('h').linux?.securityContext?.namespaceOptions).toEqual({ network: 2, pid: 1 })
    const container = containerConfig('c', 'i', { command: ['sh'], linux: { resources: { cpuShares: 5n } } })
    expect(container).toMatchObject({
      command: ['sh'],
      image: { image: 'i' },
      linux: { resources: { cpuShares: 5n }, securityContext: { namespaceOptions: { pid: 1 } } },
    })
  })
})
