// SPDX-License-Identifier: Apache-2.0
/**
 * pull-registry: a registry on loopback that serves images from memory and goes wrong on request: by rules (the
 * faults of `registry-faults.ts`), or by a test's own answers. It keeps books of every request, and it is right
 * (HEAD, Range, digests) wherever no fault applies. Not a registry to push to; the real one is `registry.ts`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type AnyImage, blobsOf } from './oci-image.ts'
import { answerFault, type FaultKind, problem, type Stored, sendStored } from './registry-faults.ts'

export interface FaultRule {
  readonly fault: FaultKind
  /** Which requests: a kind of thing, a part of the URL path. Both must fit. */
  readonly on?: 'manifest' | 'blob'
  readonly contains?: string
  /** How often; then it is used up. Unlimited when absent. */
  readonly times?: number
}

export interface SeenRequest {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
}

/** A request whose body can be had. */
export interface LiveRequest extends SeenRequest {
  body(): Promise<string>
}

/** Answers a request itself (true), or leaves it to the registry. */
export type Interceptor = (
  req: LiveRequest,
  res: ServerResponse,
  blob: Stored | undefined,
) => boolean | Promise<boolean>

export interface PullRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  readonly url: string
  readonly seen: SeenRequest[]
  intercept: Interceptor | undefined
  /** Faults that apply from now on; the first that fits is used. Replaces those before. */
  setFaults(rules: readonly FaultRule[]): void
  /** Serves `image` as `repository:tag` (and its parts by digest). */
  add(repository: string, tag: string, image: AnyImage): void
  /** Serves bytes as a blob or manifest of the repository. */
  put(repository: string, name: string, content: Stored): void
  blobGets(): string[]
}

export async function pullRegistry(hostname = '127.0.0.1'): Promise<PullRegistry> {
  const content = new Map<string, Stored>()
  const seen: SeenRequest[] = []
  const registry = { intercept: undefined as Interceptor | undefined }
  let rules: Rule[] = []
  const server = createServer(async (req, res) => {
    const url = new URL(req.url ?? '/', 'http://registry')
    const one = {
      method: req.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: req.headers,
    }
    seen.push(one)
    const match = /^\/v2\/(.+)\/(?:manifests|blobs)\/([^/]+)$/.exec(url.pathname)
    const found = match ? content.get(`${match[1]} ${match[2]}`) : undefined
    const body = async () => Buffer.concat(await req.toArray()).toString('utf8')
    if (await registry.intercept?.({ ...one, body }, res, found)) return
    const fault = faultFor(rules, url.pathname)
    if (answerFault(req, res, fault)) return
    if (found) await sendStored(req, res, { stored: found, fault })
    else if (url.pathname === '/v2/') res.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    else problem(res, 404, 'NOT_FOUND')
  })
  await new Promise<void>((resolve) => server.listen(0, hostname, resolve))
  const { port } = server.address() as AddressInfo
  const host = `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`
  return {
    host,
    url: `http://${host}`,
    setFaults(next) {
      rules = next.map((rule) => ({ ...rule, used: 0 }))
    },
    seen,
    get intercept() {
      return registry.intercept
    },
    set intercept(next) {
      registry.intercept = next
    },
    add(repository, tag, image) {
      content.set(`${repository} ${tag}`, image.manifest)
      for (const blob of blobsOf(image)) content.set(`${repository} ${blob.digest}`, blob)
      content.set(`${repository} ${image.manifest.digest}`, image.manifest)
    },
    put: (repository, name, value) => void content.set(`${repository} ${name}`, value),
    blobGets: () => seen.filter((r) => r.path.includes('/blobs/')).map((r) => r.path.split('/').at(-1) ?? ''),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  }
}

interface Rule extends FaultRule {
  used: number
}

function faultFor(rules: readonly Rule[], path: string): FaultKind | undefined {
  const rule = rules.find(
    (r) =>
      (r.on === undefined || path.includes(`/${r.on}s/`)) &&
      path.includes(r.contains ?? '') &&
      r.used < (r.times ?? Number.POSITIVE_INFINITY),
  )
  if (rule !== undefined) rule.used++
  return rule?.fault
}
