// SPDX-License-Identifier: Apache-2.0
/**
 * static-registry: a registry on loopback that serves given images and goes wrong on request: wrong bytes, short
 * and too long bodies, errors, resets, slow bodies, tokens. It keeps a record of what was asked. Read-only; it
 * knows nothing of uploads, and it is correct (HEAD, Range, digests) wherever no fault applies.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import { splitName } from './image-push.ts'
import type { ImageSource } from './oci-image.ts'
import type { FaultKind, Stored } from './static-registry-answers.ts'
import { problem, sendStored } from './static-registry-answers.ts'

export interface FaultRule {
  readonly fault: FaultKind
  /** Which requests: a kind of thing, a part of the URL path. Both must fit. */
  readonly on?: 'manifest' | 'blob' | 'token' | 'ping'
  readonly contains?: string
  /** How often; then it is used up. Unlimited when absent. */
  readonly times?: number
}

export interface SeenRequest {
  readonly method: string
  readonly url: string
  /** The scheme of its credentials, in lower case; never the credentials. */
  readonly authorization: string | undefined
  readonly range: string | undefined
}

export type StaticAuth =
  | { readonly kind: 'basic'; readonly username: string; readonly password: string }
  /** Tokens for anyone, or for that user only; a token is good for one scope and `expiresInS` seconds. */
  | {
      readonly kind: 'bearer'
      readonly username?: string
      readonly password?: string
      readonly expiresInS?: number
    }

export interface StaticRegistry {
  /** `127.0.0.1:PORT` */
  readonly host: string
  readonly port: number
  readonly url: string
  readonly requests: readonly SeenRequest[]
  /** Another image, or another one under a name that is there. A host in `name` is left out. */
  add(image: ImageSource, name: string): Promise<void>
  /** Faults that apply from now on; the first that fits is used. Replaces those before. */
  setFaults(rules: readonly FaultRule[]): void
  stop(): Promise<void>
}

interface Rule extends FaultRule {
  used: number
}

interface ManifestJson {
  readonly manifests?: readonly { readonly mediaType: string; readonly digest: string }[]
  readonly config?: { readonly digest: string }
  readonly layers?: readonly { readonly digest: string }[]
}

/** The content of the images by URL path. */
class Shelf {
  readonly #byPath = new Map<string, Stored>()

  get(path: string): Stored | undefined {
    return this.#byPath.get(path)
  }

  async add(image: ImageSource, name: string): Promise<void> {
    const { path, tag } = splitName(name)
    const top = await this.#manifest(image, path, image)
    if (tag !== undefined) this.#byPath.set(`/v2/${path}/manifests/${tag}`, top)
  }

  async #manifest(
    image: ImageSource,
    path: string,
    descriptor: { readonly mediaType: string; readonly digest: string },
  ): Promise<Stored> {
    const { digest, mediaType } = descriptor
    const stored = { bytes: await image.read(digest), mediaType, digest }
    this.#byPath.set(`/v2/${path}/manifests/${digest}`, stored)
    const json: ManifestJson = JSON.parse(Buffer.from(stored.bytes).toString('utf8'))
    for (const below of json.manifests ?? []) await this.#manifest(image, path, below)
    for (const blob of [...(json.layers ?? []), ...(json.config === undefined ? [] : [json.config])])
      this.#byPath.set(`/v2/${path}/blobs/${blob.digest}`, {
        bytes: await image.read(blob.digest),
        mediaType: 'application/octet-stream',
        digest: blob.digest,
      })
    return stored
  }
}

function kindOf(path: string): 'manifest' | 'blob' | 'token' | 'ping' {
  if (path === '/token') return 'token'
  if (path.includes('/manifests/')) return 'manifest'
  return path.includes('/blobs/') ? 'blob' : 'ping'
}

function basicOf(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
}

/** Who may pass: the tokens that were given, or the one user. */
class Gate {
  readonly #auth: StaticAuth | undefined
  readonly #given = new Map<string, { readonly scope: string; readonly untilMs: number }>()

  constructor(auth: StaticAuth | undefined) {
    this.#auth = auth
  }

  /** True when the request may pass; otherwise it has been answered. */
  admit(
    req: IncomingMessage,
    res: ServerResponse,
    asked: { readonly url: string; readonly path: string },
  ): boolean {
    const auth = this.#auth
    if (auth === undefined) return true
    const said = req.headers.authorization ?? ''
    if (auth.kind === 'basic') {
      if (said === basicOf(auth.username, auth.password)) return true
      problem(res, 401, 'UNAUTHORIZED', { 'www-authenticate': 'Basic realm="gantry test"' })
      return false
    }
    const repository = /^\/v2\/(.+)\/(?:manifests|blobs)\//.exec(asked.path)?.[1]
    const scope = repository === undefined ? '' : `repository:${repository}:pull`
    const token = this.#given.get(said.replace(/^Bearer /i, ''))
    const good = token !== undefined && token.untilMs > Date.now()
    if (good && (scope === '' || token.scope === scope)) return true
    const wanted = scope === '' ? '' : `,scope="${scope}"`
    problem(res, 401, 'UNAUTHORIZED', {
      'www-authenticate': `Bearer realm="${asked.url}/token",service="gantry test"${wanted}`,
    })
    return false
  }

  /** Answers a request for a token. */
  give(req: IncomingMessage, res: ServerResponse, query: URLSearchParams): void {
    const auth = this.#auth
    if (auth?.kind !== 'bearer') {
      problem(res, 404, 'NOT_FOUND')
      return
    }
    const { username, password, expiresInS = 60 } = auth
    if (username !== undefined && req.headers.authorization !== basicOf(username, password ?? '')) {
      problem(res, 401, 'UNAUTHORIZED')
      return
    }
    const token = `token-${this.#given.size + 1}`
    this.#given.set(token, { scope: query.get('scope') ?? '', untilMs: Date.now() + expiresInS * 1000 })
    res.writeHead(200, { 'content-type': 'application/json' })
    res.end(JSON.stringify({ token, access_token: token, expires_in: expiresInS }))
  }
}

/** One running registry: what it serves, what goes wrong, what was asked. */
class Service {
  readonly requests: SeenRequest[] = []
  readonly shelf = new Shelf()
  readonly #gate: Gate
  #rules: Rule[] = []
  url = ''

  constructor(auth: StaticAuth | undefined) {
    this.#gate = new Gate(auth)
  }

  setFaults(rules: readonly FaultRule[]): void {
    this.#rules = rules.map((r) => ({ ...r, used: 0 }))
  }

  #faultFor(path: string): FaultKind | undefined {
    const rule = this.#rules.find(
      (r) =>
        (r.on === undefined || r.on === kindOf(path)) &&
        path.includes(r.contains ?? '') &&
        r.used < (r.times ?? Number.POSITIVE_INFINITY),
    )
    if (rule !== undefined) rule.used++
    return rule?.fault
  }

  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    const at = new URL(req.url ?? '/', this.url)
    const path = decodeURIComponent(at.pathname)
    const authorization = req.headers.authorization?.split(' ')[0]?.toLowerCase()
    const { method = '', url = '' } = req
    this.requests.push({ method, url, authorization, range: req.headers.range })
    const fault = this.#faultFor(path)
    if (fault?.kind === 'reset' && fault.after === 0) req.socket.resetAndDestroy()
    else if (fault?.kind === 'status') problem(res, fault.status, 'FAULT', { ...fault.headers })
    else if (path === '/token') this.#gate.give(req, res, at.searchParams)
    else if (this.#gate.admit(req, res, { url: this.url, path }))
      await this.#answer(req, res, { path, fault })
  }

  async #answer(
    req: IncomingMessage,
    res: ServerResponse,
    asked: { readonly path: string; readonly fault: FaultKind | undefined },
  ): Promise<void> {
    const { path, fault } = asked
    const stored = this.shelf.get(path)
    if (stored !== undefined) await sendStored(req, res, { stored, fault })
    else if (path === '/v2/') res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    else problem(res, 404, kindOf(path) === 'blob' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN')
  }
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no TCP address')
  return address.port
}

/** Starts one. It lives in this process: nothing is left when that ends. */
export async function startStaticRegistry(
  options: { readonly auth?: StaticAuth; readonly faults?: readonly FaultRule[] } = {},
): Promise<StaticRegistry> {
  const service = new Service(options.auth)
  service.setFaults(options.faults ?? [])
  const server = createServer((req, res) => {
    service.handle(req, res).catch(() => res.destroy())
  })
  const port = await listen(server)
  const host = `127.0.0.1:${port}`
  service.url = `http://${host}`
  return {
    host,
    port,
    url: service.url,
    requests: service.requests,
    add: (image, name) => service.shelf.add(image, name),
    setFaults: (rules) => service.setFaults(rules),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
