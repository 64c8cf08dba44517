// SPDX-License-Identifier: Apache-2.0
/**
 * push-registry: a registry on loopback that takes images into memory and can be told to misbehave: for the tests
 * of pushes and of their failures. It remembers unfinished uploads, as the distribution specification lets it,
 * and keeps books of every request.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface SeenPush {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
}

export interface PushRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  readonly seen: SeenPush[]
  /** `repository digest` → content; `repository tag` → digest of a manifest. */
  readonly blobs: Map<string, Buffer>
  readonly manifests: Map<string, Buffer>
  /** Bytes of unfinished uploads by their name. */
  readonly uploads: Map<string, Buffer>
  /** Answers a request itself (true), or leaves it to the registry. */
  intercept:
    | ((req: SeenPush, raw: IncomingMessage, res: ServerResponse) => boolean | Promise<boolean>)
    | undefined
  /** Where uploads are said to go; a path of this server without it. */
  locationOf: (path: string) => string
}

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

export async function pushRegistry(): Promise<PushRegistry> {
  const books = {
    seen: [] as SeenPush[],
    blobs: new Map<string, Buffer>(),
    manifests: new Map<string, Buffer>(),
    uploads: new Map<string, Buffer>(),
  }
  const live: Pick<PushRegistry, 'intercept' | 'locationOf'> = {
    intercept: undefined,
    locationOf: (path) => path,
  }
  const server = createServer(async (raw, res) => {
    const url = new URL(raw.url ?? '/', 'http://registry')
    const req = {
      method: raw.method ?? '',
      path: url.pathname,
      query: url.searchParams,
      headers: raw.headers,
    }
    books.seen.push(req)
    if (await live.intercept?.(req, raw, res)) return
    await answer(books, live, { req, raw, res })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return Object.assign(live, books, {
    host: `127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    },
  })
}

type Books = Pick<PushRegistry, 'seen' | 'blobs' | 'manifests' | 'uploads'>
interface Exchange {
  readonly req: SeenPush
  readonly raw: IncomingMessage
  readonly res: ServerResponse
}

async function answer(books: Books, live: Pick<PushRegistry, 'locationOf'>, { req, raw, res }: Exchange) {
  const [, repository = '', kind = '', name = ''] =
    /^\/v2\/(.+)\/(blobs\/uploads|blobs|manifests)\/([^/]*)$/.exec(req.path) ?? []
  const end = (status: number, headers: Record<string, string> = {}) => {
    res.writeHead(status, { 'content-length': 0, ...headers })
    res.end()
  }
  const location = (id: string) => ({ location: live.locationOf(`/v2/${repository}/blobs/uploads/${id}`) })
  if (kind === 'blobs/uploads') {
    const body = await upTo(raw, books, name)
    const digest = req.query.get('digest')
    if (req.method === 'POST') {
      const from = books.blobs.get(`${req.query.get('from')} ${req.query.get('mount')}`)
      if (from) {
        books.blobs.set(`${repository} ${req.query.get('mount')}`, from)
        return end(201)
      }
      const id = `u${books.seen.length}`
      books.uploads.set(id, Buffer.alloc(0))
      return end(202, location(id))
    }
    if (!books.uploads.has(name)) return end(404)
    const range = { range: `0-${Math.max(0, body.length - 1)}` }
    if (req.method === 'GET') return end(204, { ...location(name), ...range })
    if (req.method === 'PATCH') return end(202, { ...location(name), ...range })
    if (digest !== sha256(body)) return end(400)
    books.uploads.delete(name)
    books.blobs.set(`${repository} ${digest}`, body)
    return end(201)
  }
  if (kind === 'manifests' && req.method === 'PUT') {
    const bytes = Buffer.concat(await raw.toArray())
    books.manifests.set(`${repository} ${name}`, bytes)
    return end(201, { 'docker-content-digest': sha256(bytes) })
  }
  return end(books.blobs.has(`${repository} ${name}`) ? 200 : 404)
}

/** What has come of an upload, also when the rest never does. */
async function upTo(raw: IncomingMessage, { uploads }: Books, name: string): Promise<Buffer> {
  try {
    for await (const piece of raw)
      uploads.set(name, Buffer.concat([uploads.get(name) ?? Buffer.alloc(0), piece]))
  } catch {
    // The connection broke: what came counts.
  }
  return uploads.get(name) ?? Buffer.alloc(0)
}
