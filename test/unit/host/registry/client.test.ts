// SPDX-License-Identifier: Apache-2.0
/** A registry that lies, breaks off, is busy or silent; and which of several hosts is asked. */

import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Authorizer } from '../../../../src/host/registry/auth.ts'
import { RegistryClient, sha256Of } from '../../../../src/host/registry/client.ts'
import { defaultHosts, type RegistryHost } from '../../../../src/host/registry/hosts-toml.ts'
import { closeConnections, exchange, pieces } from '../../../../src/host/registry/http.ts'
import { PULL, type PullPace } from '../../../../src/model/pull-policy.ts'
import { parseDigest, parseReference } from '../../../../src/model/reference.ts'
import { buildImage, type Image } from '../../../support/oci-image.ts'
import { buildLayer } from '../../../support/oci-layer.ts'
import { type FaultRule, type PullRegistry, pullRegistry } from '../../../support/pull-registry.ts'

let reg: PullRegistry
let image: Image
const never = new AbortController().signal

beforeEach(async () => {
  reg = await pullRegistry()
  const noise = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251))
  image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: noise }], 'none')] })
  reg.add('a/b', 'v1', image)
})
afterEach(async () => {
  closeConnections()
  await reg[Symbol.asyncDispose]()
})

function client(
  hosts: readonly RegistryHost[] = defaultHosts(reg.host),
  signal = never,
  pace: PullPace = PULL,
): RegistryClient {
  const ref = parseReference(`${reg.host}/a/b:v1`)
  return new RegistryClient(ref, {
    hosts,
    auth: new Authorizer({ lookup: async () => undefined, repository: ref.path }),
    signal,
    pace,
  })
}

const layer = () => {
  const [blob] = image.layers
  if (!blob) throw new Error('no layer')
  return { ...blob, digest: parseDigest(blob.digest) }
}

async function read(one: RegistryClient): Promise<Buffer> {
  const parts: Buffer[] = []
  for await (const piece of one.blob(layer())) parts.push(piece)
  return Buffer.concat(parts)
}

const blobRequests = () => reg.seen.filter((r) => r.path.includes('/blobs/'))

describe('a manifest', () => {
  test('by digest that is another one is corrupt', async () => {
    reg.put('a/b', image.manifest.digest, { ...image.manifest, bytes: Buffer.from('{}') })
    const failed = client().manifest(parseDigest(image.manifest.digest))
    await expect(failed).rejects.toMatchObject({ kind: 'corrupt' })
    await expect(failed).rejects.toThrow(sha256Of('{}'))
  })

  test('whose Docker-Content-Digest is not its digest is corrupt', async () => {
    reg.intercept = (_req, res) => {
      res.writeHead(200, { 'docker-content-digest': `sha256:${'0'.repeat(64)}` })
      res.end(image.manifest.bytes)
      return true
    }
    await expect(client().manifest('v1')).rejects.toThrow('says the digest is')
  })

  test('of more than 4 MiB is not read to its end', async () => {
    let sent = 0
    reg.intercept = (_req, res) => {
      const more = () => {
        while (!res.destroyed && sent < 100 * 2 ** 20) {
          sent += 2 ** 20
          if (!res.write(Buffer.alloc(2 ** 20))) return void res.once('drain', more)
        }
      }
      more()
      return true
    }
    await expect(client().manifest('v1')).rejects.toMatchObject({ kind: 'corrupt' })
    expect(sent).toBeLessThan(32 * 2 ** 20)
  })

  test.each([
    [404, 'not-found', undefined],
    [403, 'denied', undefined],
    [406, 'unsupported', undefined],
    [501, 'unavailable', 'RegistryUnavailable'],
  ])('answered with HTTP %i is %s', async (status, kind, reason) => {
    reg.intercept = (_req, res) => {
      res.writeHead(status)
      res.end('<html>')
      return true
    }
    await expect(client().manifest('v1')).rejects.toMatchObject({ kind, reason })
    expect(reg.seen).toHaveLength(1)
  })

  test('is asked for again after 429 and 503, but not for ever', async () => {
    let busy = 2
    reg.intercept = (_req, res) => {
      if (busy-- <= 0) return false
      res.writeHead(busy === 1 ? 429 : 503, { 'retry-after': '0' })
      res.end()
      return true
    }
    await client().manifest('v1')
    expect(reg.seen).toHaveLength(3)
    busy = 1000
    await expect(client().manifest('v1')).rejects.toMatchObject({
      kind: 'unavailable',
      reason: 'RegistryUnavailable',
    })
    expect(reg.seen).toHaveLength(8)
  }, 15_000)

  test('with a Retry-After of an hour fails at once', async () => {
    reg.intercept = (_req, res) => {
      res.writeHead(429, { 'retry-after': '3600' })
      res.end()
      return true
    }
    await expect(client().manifest('v1')).rejects.toThrow('HTTP 429')
    expect(reg.seen).toHaveLength(1)
  })

  test('behind a redirect to itself ends', async () => {
    reg.intercept = (req, res) => {
      res.writeHead(302, { location: req.path })
      res.end()
      return true
    }
    await expect(client().manifest('v1')).rejects.toThrow('redirects more than 5 times')
  })

  test('behind a redirect to another kind of address is refused', async () => {
    reg.intercept = (_req, res) => {
      res.writeHead(302, { location: 'file:///etc/passwd' })
      res.end()
      return true
    }
    await expect(client().manifest('v1')).rejects.toMatchObject({ kind: 'denied' })
  })
})

describe('a blob', () => {
  test('whose connection breaks is taken up where it broke', async () => {
    let breaks = 3
    reg.intercept = (req, res, blob) => {
      if (!blob || breaks-- <= 0) return false
      const start = Number(/bytes=(\d+)-/.exec(req.headers.range ?? '')?.[1] ?? 0)
      const whole = blob.bytes.length
      const range = start > 0 ? { 'content-range': `bytes ${start}-${whole - 1}/${whole}` } : {}
      res.writeHead(start > 0 ? 206 : 200, { 'content-length': whole - start, ...range })
      res.write(blob.bytes.subarray(start, start + 70_000), () => setTimeout(() => res.destroy(), 30))
      return true
    }
    expect(sha256Of(await read(client()))).toBe(layer().digest)
    const starts = blobRequests().map((r) => Number(/\d+/.exec(r.headers.range ?? '0')?.[0]))
    expect(starts).toHaveLength(4)
    expect(starts).toEqual([...starts].sort((a, b) => a - b))
    expect(starts[3]).toBeGreaterThan(100_000)
  }, 15_000)

  test('from a host that ignores Range is still whole', async () => {
    let breaks = 1
    reg.intercept = (_req, res, blob) => {
      if (!blob) return false
      res.writeHead(200, { 'content-length': blob.bytes.length })
      if (breaks-- <= 0) res.end(blob.bytes)
      else res.write(blob.bytes.subarray(0, 70_000), () => setTimeout(() => res.destroy(), 30))
      return true
    }
    expect(sha256Of(await read(client()))).toBe(layer().digest)
  })

  test('of another length than the manifest says is corrupt before it is read', async () => {
    reg.intercept = (_req, res, blob) => {
      res.end(Buffer.concat([blob?.bytes ?? Buffer.alloc(0), Buffer.alloc(1)]))
      return true
    }
    await expect(read(client())).rejects.toMatchObject({ kind: 'corrupt' })
  })

  test('that goes on without a length is cut off', async () => {
    reg.intercept = (_req, res, blob) => {
      res.writeHead(200)
      res.write(blob?.bytes)
      res.end(Buffer.alloc(100_000))
      return true
    }
    await expect(read(client())).rejects.toThrow('more than the')
  })

  test('in part is that part, or from a host that sends no parts all that follows', async () => {
    const { bytes } = layer()
    const part = async () => {
      const opened: boolean[] = []
      const from = client().part(layer(), { start: 1000, end: 5000, onOpen: (whole) => opened.push(whole) })
      const parts: Buffer[] = []
      for await (const piece of from) parts.push(piece)
      return { got: Buffer.concat(parts), opened }
    }
    expect(await part()).toEqual({ got: Buffer.from(bytes.subarray(1000, 5000)), opened: [false] })
    for (const how of ['ignored', 'refused', 'shifted'] as const) {
      reg.setFaults([{ fault: { kind: 'ranges', how }, on: 'blob' }])
      expect(await part()).toEqual({ got: Buffer.from(bytes.subarray(1000)), opened: [true] })
    }
  })

  test('over a kept connection that the host has closed is asked for again at once', async () => {
    const one = client()
    await read(one)
    reg.intercept = (_req, res) => {
      reg.intercept = undefined
      res.socket?.resetAndDestroy()
      return true
    }
    const began = performance.now()
    await read(one)
    expect(performance.now() - began).toBeLessThan(PULL.backoffMs / 2)
  })

  test('that goes silent is a timeout, and the reader’s own slowness is not', async () => {
    reg.intercept = (_req, res, blob) => {
      res.writeHead(200)
      res.write(blob?.bytes.subarray(0, 200_000))
      return true
    }
    const url = new URL(`http://${reg.host}/v2/a/b/blobs/${layer().digest}`)
    const tls = { ca: [], client: [], skipVerify: false }
    const call = {
      method: 'GET' as const,
      url,
      headers: {},
      privateHeaders: {},
      tls,
      connectMs: 1000,
      signal: never,
    }
    const reply = await exchange(call)
    let got = 0
    const slowly = async () => {
      for await (const piece of pieces(reply.body, url, { stallMs: 300 })) {
        got += piece.length
        await new Promise((resolve) => setTimeout(resolve, 100))
      }
    }
    await expect(slowly()).rejects.toMatchObject({ kind: 'timeout', reason: 'RegistryUnavailable' })
    expect(got).toBe(200_000)
  })

  test('is given up at once when the pull is', async () => {
    const stop = new AbortController()
    reg.intercept = (req) => req.path.includes('/blobs/')
    const running = read(client(undefined, stop.signal))
    setTimeout(() => stop.abort(), 100)
    const began = performance.now()
    await expect(running).rejects.toMatchObject({ kind: 'cancelled' })
    expect(performance.now() - began).toBeLessThan(2000)
  })
})

describe('of several hosts', () => {
  const hosts = async (): Promise<{ mirror: PullRegistry; list: RegistryHost[] }> => {
    const mirror = await pullRegistry()
    const [first] = defaultHosts(mirror.host)
    const [own] = defaultHosts(reg.host)
    if (!first || !own) throw new Error('no hosts')
    return { mirror, list: [{ ...first, ns: reg.host }, own] }
  }

  test('the next is asked when the mirror has not got it, and then for the blobs too', async () => {
    const { mirror, list } = await hosts()
    await using _ = mirror
    const one = client(list)
    await one.manifest('v1')
    await read(one)
    expect(mirror.seen.map((r) => r.path)).toEqual(['/v2/a/b/manifests/v1'])
  })

  const quick: PullPace = { stallMs: 5000, mirrorStallMs: 150, slowBytes: 200_000, slowMs: 200 }
  test.each<[string, FaultRule['fault']]>([
    ['that gives no answer', { kind: 'hang' }],
    ['that falls silent', { kind: 'stall', after: 70_000 }],
    ['that is too slow', { kind: 'slow', chunk: 1000, everyMs: 20 }],
  ])('one %s is left for the next, which goes on where it was', async (_which, wrong) => {
    const { mirror, list } = await hosts()
    await using _ = mirror
    mirror.add('a/b', 'v1', image)
    mirror.setFaults([{ fault: wrong, on: 'blob' }])
    const one = client(list, never, quick)
    expect(sha256Of(await read(one))).toBe(layer().digest)
    expect(blobRequests()).toHaveLength(1)
    // From then on it comes last.
    mirror.seen.length = 0
    await read(one)
    expect(mirror.seen).toEqual([])
  })

  test('the last one may be slow: there is nobody else', async () => {
    reg.setFaults([{ fault: { kind: 'slow', chunk: 20_000, everyMs: 20 }, on: 'blob' }])
    const got = await read(client(undefined, never, quick))
    expect(sha256Of(got)).toBe(layer().digest)
    expect(blobRequests()).toHaveLength(1)
  })

  test('whoever sent wrong bytes is not asked for that blob again, as long as there is another', async () => {
    const { mirror, list } = await hosts()
    await using _ = mirror
    mirror.add('a/b', 'v1', image)
    mirror.setFaults([{ fault: { kind: 'wrong-bytes' }, on: 'blob' }])
    const one = client(list)
    expect(sha256Of(await read(one))).not.toBe(layer().digest)
    expect(one.distrust(layer().digest)).toBe(true)
    expect(sha256Of(await read(one))).toBe(layer().digest)
    expect(one.distrust(layer().digest)).toBe(false)
    const { bytes, ...config } = image.config
    expect(await client(list).smallBlob({ ...config, digest: parseDigest(config.digest) }, 10_000)).toEqual(
      Buffer.from(bytes),
    )
  })

  test('one with wrong bytes is passed over', async () => {
    const { mirror, list } = await hosts()
    await using _ = mirror
    mirror.put('a/b', image.manifest.digest, { ...image.manifest, bytes: Buffer.from('{}') })
    const got = await client(list).manifest(parseDigest(image.manifest.digest))
    expect(got.digest).toBe(image.manifest.digest)
  })

  test('a mirror that may not resolve is not asked for tags, but for digests', async () => {
    const { mirror, list } = await hosts()
    await using _ = mirror
    mirror.add('a/b', 'v1', image)
    const [first, own] = list
    if (!first || !own) throw new Error('no hosts')
    const one = client([{ ...first, resolves: false }, own])
    await one.manifest('v1')
    expect(mirror.seen).toEqual([])
  })

  test('all that failed are named, and the registry itself decides what kind of failure it is', async () => {
    const { mirror, list } = await hosts()
    await mirror[Symbol.asyncDispose]()
    const failed = client(list).manifest('nope')
    await expect(failed).rejects.toMatchObject({ kind: 'not-found' })
    await expect(failed).rejects.toThrow(mirror.host)
    await expect(failed).rejects.toThrow(`${reg.host}/v2/a/b/manifests/nope: HTTP 404`)
  })
})

test('a host that accepts and never speaks TLS is given up after the connection limit', async () => {
  const silent = createServer(() => {})
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  const { port } = silent.address() as AddressInfo
  const url = new URL(`https://127.0.0.1:${port}/v2`)
  const tls = { ca: [], client: [], skipVerify: false }
  const failed = exchange({
    method: 'GET',
    url,
    headers: {},
    privateHeaders: {},
    tls,
    connectMs: 300,
    signal: never,
  })
  await expect(failed).rejects.toMatchObject({ kind: 'timeout', reason: 'RegistryUnavailable' })
  silent.close()
})
