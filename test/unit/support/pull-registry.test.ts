// SPDX-License-Identifier: Apache-2.0
/**
 * The registry that goes wrong on request: it is right without a fault, and each fault is what it says. A test
 * that relied on a fault which never happened would prove nothing.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { buildImage, type Image } from '../../support/oci-image.ts'
import { buildLayer, sha256 } from '../../support/oci-layer.ts'
import { type FaultRule, type PullRegistry, pullRegistry } from '../../support/pull-registry.ts'

let registry: PullRegistry
let image: Image
let size: number

beforeEach(async () => {
  image = buildImage({
    layers: [await buildLayer([{ type: 'file', path: 'f', content: 'x'.repeat(5000) }], 'none')],
  })
  size = image.layers[0]?.size ?? 0
  registry = await pullRegistry()
  registry.add('folder/name', 'tag', image)
})
afterEach(() => registry[Symbol.asyncDispose]())

const manifest = (init?: RequestInit): Promise<Response> =>
  fetch(`${registry.url}/v2/folder/name/manifests/tag`, init)
const blob = (init?: RequestInit): Promise<Response> =>
  fetch(`${registry.url}/v2/folder/name/blobs/${image.layers[0]?.digest}`, init)
const bytesOf = async (reply: Response): Promise<Buffer> => Buffer.from(await reply.arrayBuffer())
const fault = (one: FaultRule['fault'], more: Partial<FaultRule> = { on: 'blob' }) =>
  registry.setFaults([{ fault: one, ...more }])
const part = { headers: { range: 'bytes=1000-1999' } }

describe('without a fault', () => {
  it('serves manifests by tag and digest, with digest and length, also for HEAD', async () => {
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

  it('serves a part of a blob, and its rest from an offset', async () => {
    const bytes = Buffer.from(image.layers[0]?.bytes ?? [])
    const some = await blob(part)
    expect([some.status, some.headers.get('content-range')]).toEqual([206, `bytes 1000-1999/${size}`])
    expect(await bytesOf(some)).toEqual(bytes.subarray(1000, 2000))
    expect(await bytesOf(await blob({ headers: { range: 'bytes=1000-' } }))).toEqual(bytes.subarray(1000))
    expect(registry.seen.at(-1)).toMatchObject({ method: 'GET', headers: { range: 'bytes=1000-' } })
  })
})

describe('faults', () => {
  it('wrong-bytes keeps the size and breaks the digest, once if so told', async () => {
    fault({ kind: 'wrong-bytes' }, { on: 'blob', times: 1 })
    const bad = await bytesOf(await blob())
    expect(bad.length).toBe(size)
    expect(sha256(bad)).not.toBe(image.layers[0]?.digest)
    expect(sha256(await bytesOf(await blob()))).toBe(image.layers[0]?.digest)
  })

  it('short-body breaks off, cut ends as if nothing were missing', async () => {
    fault({ kind: 'short-body', after: 100 })
    await expect(blob().then(bytesOf)).rejects.toThrow()
    fault({ kind: 'cut', after: 100 })
    expect((await bytesOf(await blob())).length).toBe(100)
  })

  it('oversize sends more than the descriptor says', async () => {
    fault({ kind: 'oversize', extra: 10 })
    expect((await bytesOf(await blob())).length).toBe(size + 10)
    fault({ kind: 'oversize', extra: 10, silently: true })
    const reply = await blob()
    expect(reply.headers.get('content-length')).toBeNull()
    expect((await bytesOf(reply)).length).toBe(size + 10)
  })

  it('endless goes on until the client leaves', async () => {
    fault({ kind: 'endless' })
    let got = 0
    for await (const piece of (await blob()).body ?? []) {
      got += piece.length
      if (got > 1_000_000) break
    }
    expect(got).toBeGreaterThan(1_000_000)
  })

  it('reset breaks the connection before or within the answer', async () => {
    fault({ kind: 'reset', after: 0 }, { on: 'manifest' })
    await expect(manifest()).rejects.toThrow()
    fault({ kind: 'reset' })
    await expect(blob().then(bytesOf)).rejects.toThrow()
  })

  it('status answers with it and its headers, redirect with a place', async () => {
    fault({ kind: 'status', status: 429, headers: { 'retry-after': '1' } }, { contains: '/tag', times: 2 })
    const reply = await manifest()
    expect([reply.status, reply.headers.get('retry-after')]).toEqual([429, '1'])
    expect((await manifest()).status).toBe(429)
    expect((await manifest()).status).toBe(200)
    fault({ kind: 'redirect', to: 'self' })
    const moved = await blob({ redirect: 'manual' })
    expect([moved.status, moved.headers.get('location')]).toEqual([307, new URL(moved.url).pathname])
  })

  it('slow takes its time, stall and hang never end', async () => {
    fault({ kind: 'slow', chunk: 2000, everyMs: 20 })
    const startedMs = performance.now()
    expect(sha256(await bytesOf(await blob()))).toBe(image.layers[0]?.digest)
    expect(performance.now() - startedMs).toBeGreaterThan(50)
    fault({ kind: 'stall', after: 10 })
    const stalled = await blob({ signal: AbortSignal.timeout(150) })
    await expect(bytesOf(stalled)).rejects.toThrow()
    fault({ kind: 'hang' })
    await expect(blob({ signal: AbortSignal.timeout(150) })).rejects.toThrow()
  })

  it('ranges are ignored, refused or shifted', async () => {
    fault({ kind: 'ranges', how: 'ignored' })
    const whole = await blob(part)
    expect([whole.status, (await bytesOf(whole)).length]).toEqual([200, size])
    fault({ kind: 'ranges', how: 'refused' })
    expect((await blob(part)).status).toBe(416)
    fault({ kind: 'ranges', how: 'shifted' })
    expect((await blob(part)).headers.get('content-range')).toBe(`bytes 1001-1999/${size}`)
  })

  it('wrong headers come with right bytes', async () => {
    fault({ kind: 'wrong-digest-header' }, { on: 'manifest' })
    const reply = await manifest()
    expect(reply.headers.get('docker-content-digest')).not.toBe(image.manifest.digest)
    expect(sha256(await bytesOf(reply))).toBe(image.manifest.digest)
    fault({ kind: 'media-type', mediaType: 'text/plain' }, {})
    expect((await manifest()).headers.get('content-type')).toBe('text/plain')
  })
})
