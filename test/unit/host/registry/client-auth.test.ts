// SPDX-License-Identifier: Apache-2.0
/** Getting in, and that what gets us in reaches nobody else: not a mirror, not a redirect's target, not a message. */
import type { IncomingHttpHeaders } from 'node:http'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Authorizer } from '../../../../src/host/registry/auth.ts'
import { RegistryClient } from '../../../../src/host/registry/client.ts'
import { defaultHosts, type RegistryHost } from '../../../../src/host/registry/hosts-toml.ts'
import { closeConnections } from '../../../../src/host/registry/http.ts'
import { credentialLookup } from '../../../../src/host/registry/lookup.ts'
import type { RegistryAuth } from '../../../../src/model/pull-policy.ts'
import { parseDigest, parseReference } from '../../../../src/model/reference.ts'
import { buildImage, type Image } from '../../../support/oci-image.ts'
import { buildLayer } from '../../../support/oci-layer.ts'
import { type PullRegistry, pullRegistry } from '../../../support/pull-registry.ts'

const PASSWORD = 'correct-horse'
const BASIC = `Basic ${Buffer.from(`ann:${PASSWORD}`).toString('base64')}`

let reg: PullRegistry
let other: PullRegistry
let image: Image

beforeEach(async () => {
  reg = await pullRegistry()
  other = await pullRegistry()
  image = buildImage({ layers: [await buildLayer([{ type: 'file', path: 'a', content: 'a' }])] })
  reg.add('a/b', 'v1', image)
})
afterEach(async () => {
  closeConnections()
  await reg[Symbol.asyncDispose]()
  await other[Symbol.asyncDispose]()
})

/** Knows the credentials of a request, and no files. */
function authorizer(auth: RegistryAuth, domain: string, actions: 'pull' | 'pull,push' = 'pull'): Authorizer {
  const node = { files: [], ask: async () => undefined, warn: () => {} }
  return new Authorizer({ lookup: credentialLookup({ auth, domain }, node), repository: 'a/b', actions })
}

function client(
  auth: RegistryAuth,
  hosts?: readonly RegistryHost[],
  own = authorizer(auth, reg.host),
): RegistryClient {
  const ref = parseReference(`${reg.host}/a/b:v1`)
  return new RegistryClient(ref, {
    hosts: hosts ?? defaultHosts(reg.host),
    auth: own,
    signal: new AbortController().signal,
  })
}

/** The registry lets in who sends `expected`; others get the challenge. */
function guard(registry: PullRegistry, challenge: string, expected: string): void {
  registry.intercept = (req, res) => {
    if (req.path === '/token' || req.headers.authorization === expected) return false
    res.writeHead(401, { 'www-authenticate': challenge })
    res.end(
      JSON.stringify({
        errors: [{ code: 'UNAUTHORIZED', message: `you sent ${req.headers.authorization}` }],
      }),
    )
    return true
  }
}

/** A token endpoint at `other` that gives `token` to who passes `check`. */
function tokens(
  check: (headers: IncomingHttpHeaders, query: URLSearchParams, body: string) => boolean,
): void {
  other.intercept = async (req, res) => {
    const body = await req.body()
    const good = check(req.headers, req.query, body)
    res.writeHead(good ? 200 : 401, { 'content-type': 'application/json' })
    res.end(JSON.stringify(good ? { token: 'the-token' } : { details: 'no' }))
    return true
  }
}

const bearer = () => `Bearer realm="http://${other.host}/token",service="svc",scope="repository:a/b:pull"`
const sentTo = (registry: PullRegistry) => JSON.stringify(registry.seen)
const layer = () => {
  const [blob] = image.layers
  if (!blob) throw new Error('no layer')
  return { ...blob, digest: parseDigest(blob.digest) }
}

describe('getting in', () => {
  test('by Basic, from username and password or from auth', async () => {
    guard(reg, 'Basic realm="r"', BASIC)
    await client({ username: 'ann', password: PASSWORD }).manifest('v1')
    await client({ auth: BASIC.slice(6) }).manifest('v1')
  })

  test('by an anonymous token', async () => {
    guard(reg, bearer(), 'Bearer the-token')
    tokens(
      (headers, query) => headers.authorization === undefined && query.get('scope') === 'repository:a/b:pull',
    )
    await client({}).manifest('v1')
  })

  test('by a token for a user', async () => {
    guard(reg, bearer(), 'Bearer the-token')
    tokens((h, q) => h.authorization === BASIC && q.get('service') === 'svc' && q.get('account') === 'ann')
    await client({ username: 'ann', password: PASSWORD }).manifest('v1')
  })

  test('by an identity token, posted as a form', async () => {
    guard(reg, bearer(), 'Bearer the-token')
    tokens((h, q, body) => {
      const form = new URLSearchParams(body)
      return h.authorization === undefined && q.size === 0 && form.get('refresh_token') === 'identity-1'
    })
    await client({ identityToken: 'identity-1' }).manifest('v1')
  })

  test('by a registry token, sent as it is', async () => {
    guard(reg, bearer(), 'Bearer ready-made')
    await client({ registryToken: 'ready-made' }).manifest('v1')
    expect(reg.seen.map((r) => r.headers.authorization)).toEqual([undefined, 'Bearer ready-made'])
    expect(other.seen).toHaveLength(0)
  })

  test.each([
    ['', 'pull', 'repository:a/b:pull'],
    ['scope="repository:a/b:pull repository:c:pull"', 'pull', 'repository:a/b:pull repository:c:pull'],
    ['scope="repository:other/b:pull,metadata"', 'pull', 'repository:other/b:pull,metadata'],
    ['', 'pull,push', 'repository:a/b:pull,push'],
    [
      'scope="repository:a/b:pull repository:c:pull"',
      'pull,push',
      'repository:a/b:pull,push repository:c:pull',
    ],
  ] as const)('a registry that names %j, for %s: the token is for %s', async (named, actions, expected) => {
    guard(reg, `Bearer realm="http://${other.host}/token",service="svc",${named}`, 'Bearer the-token')
    tokens((_headers, query) => query.getAll('scope').join(' ') === expected)
    await client({}, undefined, authorizer({}, reg.host, actions)).manifest('v1')
    tokens((_headers, _query, body) => new URLSearchParams(body).get('scope') === expected)
    const auth = { identityToken: 'identity-1' }
    await client(auth, undefined, authorizer(auth, reg.host, actions)).manifest('v1')
  })

  test('again when the token has run out in the middle', async () => {
    guard(reg, bearer(), 'Bearer the-token')
    tokens(() => true)
    const one = client({})
    await one.manifest('v1')
    let refused = 0
    const before = reg.intercept
    reg.intercept = (req, res, blob) => {
      if (req.path.includes('/blobs/') && refused++ === 0) {
        res.writeHead(401, { 'www-authenticate': bearer() })
        res.end()
        return true
      }
      return before?.(req, res, blob) ?? false
    }
    expect((await one.smallBlob(layer(), 1_000_000)).length).toBe(image.layers[0]?.size)
    expect(other.seen).toHaveLength(2)
  })
})

describe('staying out', () => {
  test.each([
    ['Basic realm="r"', {}, 'no credentials were given'],
    ['Basic realm="r"', { username: 'ann', password: 'wrong-password' }, 'were refused'],
    [
      'Basic realm="r"',
      { username: 'ann', password: PASSWORD, serverAddress: 'elsewhere.io' },
      'no credentials',
    ],
    ['Negotiate', { username: 'ann', password: PASSWORD }, 'were refused'],
    ['Bearer service="x"', { username: 'ann', password: PASSWORD }, 'no valid realm'],
    ['Bearer realm="ftp://x/"', { username: 'ann', password: PASSWORD }, 'refused'],
  ])('%s with %j: %s', async (challenge, auth, why) => {
    guard(reg, challenge, BASIC)
    const failed = client(auth).manifest('v1')
    await expect(failed).rejects.toMatchObject({ kind: 'denied' })
    await expect(failed).rejects.toThrow(why)
    await expect(failed).rejects.not.toThrow(/wrong-password|correct-horse/)
  })

  test('a registry that echoes what it was sent does not bring it into the message', async () => {
    reg.intercept = (req, res) => {
      const known = req.headers.authorization !== undefined
      res.writeHead(known ? 403 : 401, { 'www-authenticate': 'Basic realm="r"' })
      res.end(
        JSON.stringify({ errors: [{ code: 'DENIED', message: `${req.headers.authorization} ${PASSWORD}` }] }),
      )
      return true
    }
    const failed = client({ username: 'ann', password: PASSWORD }).manifest('v1')
    await expect(failed).rejects.toThrow('DENIED: Basic [redacted] [redacted]')
  })
})

describe('credentials do not travel', () => {
  const auth = { username: 'ann', password: PASSWORD }

  test('with a redirect to another host', async () => {
    guard(reg, 'Basic realm="r"', BASIC)
    const inner = reg.intercept
    reg.intercept = (req, res, blob) => {
      if (!req.path.includes('/blobs/')) return inner?.(req, res, blob) ?? false
      res.writeHead(307, { location: `http://${other.host}/storage?signature=s3cret` })
      res.end()
      return true
    }
    other.intercept = (_req, res) => {
      res.end(image.layers[0]?.bytes)
      return true
    }
    const one = client(auth)
    await one.manifest('v1')
    await one.smallBlob(layer(), 1_000_000)
    expect(reg.seen.at(-1)?.headers.authorization).toBe(BASIC)
    expect(other.seen).toHaveLength(1)
    expect(sentTo(other)).not.toMatch(/authorization|correct-horse|YW5u/)
  })

  test('with a redirect to a host that asks for them', async () => {
    guard(reg, 'Basic realm="r"', BASIC)
    const inner = reg.intercept
    reg.intercept = (req, res, blob) => {
      if (!req.path.includes('/blobs/')) return inner?.(req, res, blob) ?? false
      res.writeHead(307, { location: `http://${other.host}/storage` })
      res.end()
      return true
    }
    other.intercept = (_req, res) => {
      res.writeHead(401, { 'www-authenticate': `Bearer realm="http://${other.host}/token"` })
      res.end()
      return true
    }
    const one = client(auth)
    await one.manifest('v1')
    await expect(one.smallBlob(layer(), 1_000_000)).rejects.toThrow(
      `http://${reg.host} redirects to http://${other.host}/storage, which asks for authentication`,
    )
    expect(sentTo(other)).not.toMatch(/authorization|correct-horse|YW5u|token/)
  })

  test('with a token request that is redirected', async () => {
    guard(reg, bearer(), 'Bearer the-token')
    other.intercept = (_req, res) => {
      res.writeHead(307, { location: `http://localhost:${reg.host.split(':')[1]}/token` })
      res.end()
      return true
    }
    for (const own of [auth, { identityToken: 'identity-1' }])
      await expect(client(own).manifest('v1')).rejects.toMatchObject({ kind: /unavailable|not-found/ })
    expect(sentTo(reg)).not.toMatch(/authorization|correct-horse|YW5u|identity-1/)
  })

  test('nor does the signature of such a link into an error', async () => {
    reg.intercept = (_req, res) => {
      res.writeHead(302, { location: `http://${other.host}/storage?signature=s3cret` })
      res.end()
      return true
    }
    other.intercept = (_req, res) => {
      res.writeHead(403)
      res.end()
      return true
    }
    const failed = client(auth).manifest('v1')
    await expect(failed).rejects.toThrow('HTTP 403')
    await expect(failed).rejects.not.toThrow('s3cret')
  })

  test('to a mirror, even one that asks for them', async () => {
    guard(reg, 'Basic realm="r"', BASIC)
    guard(other, 'Basic realm="r"', BASIC)
    const [own] = defaultHosts(reg.host)
    const [mirror] = defaultHosts(other.host)
    if (!own || !mirror) throw new Error('no hosts')
    const headers = { 'x-operator': 'for the mirror' }
    await client(auth, [{ ...mirror, ns: reg.host, headers }, own]).manifest('v1')
    expect(sentTo(other)).not.toMatch(/"authorization"|correct-horse/)
    expect(other.seen[0]?.query.get('ns')).toBe(reg.host)
    expect(other.seen[0]?.headers['x-operator']).toBe('for the mirror')
    expect(sentTo(reg)).not.toContain('x-operator')
  })

  test('in the text of an Authorizer that somebody prints', async () => {
    const { inspect } = await import('node:util')
    expect(inspect(authorizer(auth, 'r'), { depth: 9, showHidden: true })).not.toContain(PASSWORD)
  })
})
