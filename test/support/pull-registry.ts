// SPDX-License-Identifier: Apache-2.0
/**
 * pull-registry: a registry on loopback that serves images from memory and can be told to misbehave: for the
 * tests of pulls and of their failures. It keeps books of every request. Not a registry to push to; the real
 * one is `registry.ts`.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type AnyImage, blobsOf } from './oci-image.ts'

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
  blob: { readonly mediaType: string; readonly bytes: Uint8Array } | undefined,
) => boolean | Promise<boolean>

export interface PullRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  readonly seen: SeenRequest[]
  intercept: Interceptor | undefined
  /** Serves `image` as `repository:tag` (and its parts by digest). */
  add(repository: string, tag: string, image: AnyImage): void
  /** Serves bytes as a blob or manifest of the repository. */
  put(repository: string, name: string, content: { mediaType: string; bytes: Uint8Array }): void
  blobGets(): string[]
}

export async function pullRegistry(hostname = '127.0.0.1'): Promise<PullRegistry> {
  const content = new Map<string, { mediaType: string; bytes: Uint8Array }>()
  const seen: SeenRequest[] = []
  const registry = { intercept: undefined as Interceptor | undefined }
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
    answer(req, res, found)
  })
  await new Promise<void>((resolve) => server.listen(0, hostname, resolve))
  const { port } = server.address() as AddressInfo
  return {
    host: `${hostname.includes(':') ? `[${hostname}]` : hostname}:${port}`,
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

function answer(
  req: IncomingMessage,
  res: ServerResponse,
  found: { readonly mediaType: string; readonly bytes: Uint8Array } | undefined,
): void {
  if (!found) {
    res.writeHead(404, { 'content-type': 'application/json' })
    res.end(JSON.stringify({ errors: [{ code: 'NOT_FOUND', message: 'no such thing here' }] }))
    return
  }
  const range = /^bytes=(\d+)-$/.exec(req.headers.range ?? '')
  const start = range ? Number(range[1]) : 0
  const body = found.bytes.subarray(start)
  res.writeHead(range ? 206 : 200, {
    'content-type': found.mediaType,
    'content-length': body.length,
    ...(range ? { 'content-range': `bytes ${start}-${found.bytes.length - 1}/${found.bytes.length}` } : {}),
  })
  res.end(req.method === 'HEAD' ? undefined : body)
}
