// SPDX-License-Identifier: Apache-2.0
/**
 * The registry that goes wrong on request: it is right without a fault, and each fault is what it says. A test
 * that relied on a fault which never happened would prove nothing.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { acceptManifests } from '../../support/image-push.ts'
import type { Image } from '../../support/oci-image.ts'
import { buildImage, sourceOf } from '../../support/oci-image.ts'
import { buildLayer, sha256 } from '../../support/oci-layer.ts'
import type { FaultRule, StaticAuth, StaticRegistry } from '../../support/static-registry.ts'
import { startStaticRegistry } from '../../support/static-registry.ts'

let registry: StaticRegistry
let image: Image

async function start(options: { auth?: StaticAuth; faults?: FaultRule[] } = {}): Promise<void> {
  registry = await startStaticRegistry(options)
  await registry.add(sourceOf(image), 'some.host/folder/name:tag')
}

beforeEach(async () => {
  image = buildImage({
    layers: [await buildLayer([{ type: 'file', path: 'f', content: 'x'.repeat(5000) }], 'none')],
  })
})
afterEach(() => registry.stop())

const manifest = (init?: RequestInit): Promise<Response> =>
  fetch(`${registry.url}/v2/folder/name/manifests/tag`, { headers: { accept: acceptManifests }, ...init })
const blob = (init?: RequestInit): Promise<Response> =>
  fetch(`${registry.url}/v2/folder/name/blobs/${image.layers[0]?.digest}`, init)
const bytesOf = async (reply: Response): Promise<Buffer> => Buffer.from(await reply.arrayBuffer())

describe('without a fault', () => {
  it('serves manifests by tag and digest, with digest and length, also for HEAD', async () => {
    await start()
    const byTag = await manifest()
    expect(byTag.headers.get('content-type')).toBe(image.manifest.mediaType)
    expect(byTag.headers.get('docker-content-digest')).toBe(image.manifest.digest)
    expect(sha256(await bytesOf(byTag))).toBe(image.manifest.digest)
    const head = await manifest({ method: 'HEAD' })
    expect(head.headers.get('content-length')).toBe(String(image.manifest.size))
    const byDigest = await fetch(`${registry.url}/v2/folder/name/manifests/${image.manifest.digest}`)
    expect(byDigest.status).toBe(200)
    expect((await fetch(`${registry.url}/v2/folder/name/manifests/other`)).status).toBe(404)
    expect((await fetch(`${registry.url}/v2/`)).status).toBe(200)
  })

  it('serves the rest of a blob from an offset', async () => {
    await start()
    const reply = await blob({ headers: { range: 'bytes=1000-' } })
    expect(reply.status).toBe(206)
    expect(await bytesOf(reply)).toEqual(Buffer.from(image.layers[0]?.bytes ?? []).subarray(1000))
    expect(registry.requests.at(-1)).toMatchObject({ method: 'GET', range: 'bytes=1000-' })
  })
})

describe('faults', () => {
  it('wrong-bytes keeps the size and breaks the digest, once if so told', async () => {
    await start({ faults: [{ fault: { kind: 'wrong-bytes' }, on: 'blob', times: 1 }] })
    const bad = await bytesOf(await blob())
    expect(bad.length).toBe(image.layers[0]?.size)
    expect(sha256(bad)).not.toBe(image.layers[0]?.digest)
    expect(sha256(await bytesOf(await blob()))).toBe(image.layers[0]?.digest)
  })

  it('short-body ends early', async () => {
    await start({ faults: [{ fault: { kind: 'short-body', after: 100 }, on: 'blob' }] })
    await expect(blob().then(bytesOf)).rejects.toThrow()
  })

  it('oversize sends more than the descriptor says', async () => {
    await start({ faults: [{ fault: { kind: 'oversize', extra: 10 }, on: 'blob' }] })
    expect((await bytesOf(await blob())).length).toBe((image.layers[0]?.size ?? 0) + 10)
  })

  it('endless goes on until the client leaves', async () => {
    await start({ faults: [{ fault: { kind: 'endless' }, on: 'blob' }] })
    let got = 0
    for await (const part of (await blob()).body ?? []) {
      got += part.length
      if (got > 1_000_000) break
    }
    expect(got).toBeGreaterThan(1_000_000)
  })

  it('reset breaks the connection before or within the answer', async () => {
    await start({
      faults: [
        { fault: { kind: 'reset', after: 0 }, on: 'manifest' },
        { fault: { kind: 'reset' }, on: 'blob' },
      ],
    })
    await expect(manifest()).rejects.toThrow()
    await expect(blob().then(bytesOf)).rejects.toThrow()
  })

  it('status answers with it and its headers', async () => {
    const fault = { kind: 'status', status: 429, headers: { 'retry-after': '1' } } as const
    await start({ faults: [{ fault, contains: '/tag', times: 2 }] })
    const reply = await manifest()
    expect([reply.status, reply.headers.get('retry-after')]).toEqual([429, '1'])
    expect((await manifest()).status).toBe(429)
    expect((await manifest()).status).toBe(200)
  })

  it('slow takes its time, stall never ends', async () => {
    await start({ faults: [{ fault: { kind: 'slow', chunk: 2000, everyMs: 20 }, on: 'blob' }] })
    const startedMs = performance.now()
    expect(sha256(await bytesOf(await blob()))).toBe(image.layers[0]?.digest)
    expect(performance.now() - startedMs).toBeGreaterThan(50)
    registry.setFaults([{ fault: { kind: 'stall' } }])
    const stalled = await blob({ signal: AbortSignal.timeout(150) })
    await expect(bytesOf(stalled)).rejects.toThrow()
  })

  it('wrong headers come with right bytes', async () => {
    await start({ faults: [{ fault: { kind: 'wrong-digest-header' }, on: 'manifest' }] })
    const reply = await manifest()
    expect(reply.headers.get('docker-content-digest')).not.toBe(image.manifest.digest)
    expect(sha256(await bytesOf(reply))).toBe(image.manifest.digest)
    registry.setFaults([{ fault: { kind: 'media-type', mediaType: 'text/plain' } }])
    expect((await manifest()).headers.get('content-type')).toBe('text/plain')
  })
})

describe('credentials', () => {
  const basic = `Basic ${Buffer.from('me:secret').toString('base64')}`

  it('basic: asks, and takes the right ones only', async () => {
    await start({ auth: { kind: 'basic', username: 'me', password: 'secret' } })
    const asked = await manifest()
    expect([asked.status, asked.headers.get('www-authenticate')]).toEqual([401, 'Basic realm="gantry test"'])
    expect((await manifest({ headers: { authorization: basic } })).status).toBe(200)
    expect(JSON.stringify(registry.requests)).not.toContain('bWU6')
  })

  it('bearer: sends to the token endpoint, whose token is good for that repository', async () => {
    await start({ auth: { kind: 'bearer', username: 'me', password: 'secret' } })
    const challenge = (await manifest()).headers.get('www-authenticate') ?? ''
    expect(challenge).toBe(
      `Bearer realm="${registry.url}/token",service="gantry test",scope="repository:folder/name:pull"`,
    )
    const where = `${registry.url}/token?scope=${encodeURIComponent('repository:folder/name:pull')}`
    expect((await fetch(where)).status).toBe(401)
    const given: { token: string } = JSON.parse(
      await (await fetch(where, { headers: { authorization: basic } })).text(),
    )
    expect((await blob({ headers: { authorization: `Bearer ${given.token}` } })).status).toBe(200)
    expect((await blob({ headers: { authorization: 'Bearer other' } })).status).toBe(401)
  })
})
