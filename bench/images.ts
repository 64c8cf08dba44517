// SPDX-License-Identifier: Apache-2.0
/**
 * Images: the two images of the bench, made from the machine's static busybox and one small C program, and a
 * read-only registry on 127.0.0.1 (plain HTTP) that serves them, and those that `add` gives it from files, with
 * ranges. Nothing is fetched from anywhere else. `bench/busybox:1` is what pods run; `bench/pause:1` is for peers
 * that need a sandbox image.
 */
import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createReadStream } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import type { StoredImage } from './image-set.ts'

const run = promisify(execFile)
const BUSYBOX = '/bin/busybox'
const APPLETS = ['sh', 'true', 'sleep', 'cat', 'echo', 'ls']
const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json'

/** The registry and the references of what it serves. */
export interface ImageSource {
  host: string
  busybox: string
  pause: string
  /** Serves an image from its files as `<name>:1`; gives the reference. */
  add(image: StoredImage): string
  close(): Promise<void>
}

interface Entry {
  path: string
  bytes?: Buffer
  link?: string
}

type Blob = Buffer | { readonly path: string; readonly size: number }

interface Image {
  manifest: Buffer
  blobs: ReadonlyMap<string, Blob>
}

const sha256 = (bytes: Buffer) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

async function hold(): Promise<Buffer> {
  const out = fileURLToPath(new URL('out/hold', import.meta.url))
  const source = fileURLToPath(new URL('hold.c', import.meta.url))
  await mkdir(fileURLToPath(new URL('out/', import.meta.url)), { recursive: true })
  await run('cc', ['-static', '-Os', '-s', '-Wall', '-Wextra', '-o', out, source]).catch((cause: unknown) => {
    throw new Error('bench: cannot compile hold.c: install a C compiler (Debian: gcc libc6-dev)', { cause })
  })
  return readFile(out)
}

async function busybox(): Promise<Buffer> {
  const bytes = await readFile(BUSYBOX).catch((cause: unknown) => {
    throw new Error(`bench: ${BUSYBOX} is missing: install busybox-static`, { cause })
  })
  if (bytes.includes(Buffer.from('/lib64/ld-linux'))) {
    throw new Error(`bench: ${BUSYBOX} is not static: install busybox-static`)
  }
  return bytes
}

async function tar(entries: readonly Entry[]): Promise<Buffer> {
  const stream = pack()
  for (const { path, bytes, link } of entries) {
    const mtime = new Date(0)
    if (bytes) stream.entry({ name: path, mode: 0o755, mtime }, bytes)
    else if (link) stream.entry({ name: path, type: 'symlink', linkname: link, mtime })
    else stream.entry({ name: path, type: 'directory', mode: path === 'tmp/' ? 0o1777 : 0o755, mtime })
  }
  stream.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of stream) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

async function image(entries: readonly Entry[], entrypoint: string): Promise<Image> {
  const layer = await tar(entries)
  const packed = gzipSync(layer)
  const config = Buffer.from(
    JSON.stringify({
      created: '1970-01-01T00:00:00Z',
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      config: { Entrypoint: [entrypoint], Env: ['PATH=/bin'], WorkingDir: '/' },
      rootfs: { type: 'layers', diff_ids: [sha256(layer)] },
      history: [{ created: '1970-01-01T00:00:00Z', created_by: 'bench/images.ts' }],
    }),
  )
  const describe = (mediaType: string, bytes: Buffer) => ({
    mediaType,
    digest: sha256(bytes),
    size: bytes.length,
  })
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      config: describe('application/vnd.oci.image.config.v1+json', config),
      layers: [describe('application/vnd.oci.image.layer.v1.tar+gzip', packed)],
    }),
  )
  return { manifest, blobs: new Map([config, packed].map((blob) => [sha256(blob), blob])) }
}

async function build(): Promise<Map<string, Image>> {
  const [holdBytes, busyboxBytes] = await Promise.all([hold(), busybox()])
  const folders = ['bin/', 'dev/', 'etc/', 'proc/', 'sys/', 'tmp/'].map((path) => ({ path }))
  const passwd = Buffer.from('root:x:0:0:root:/:/bin/sh\n')
  const group = Buffer.from('root:x:0:\n')
  return new Map([
    [
      'bench/busybox',
      await image(
        [
          ...folders,
          { path: 'bin/busybox', bytes: busyboxBytes },
          { path: 'bin/hold', bytes: holdBytes },
          { path: 'etc/passwd', bytes: passwd },
          { path: 'etc/group', bytes: group },
          ...APPLETS.map((name) => ({ path: `bin/${name}`, link: 'busybox' })),
        ],
        '/bin/hold',
      ),
    ],
    ['bench/pause', await image([{ path: 'pause', bytes: holdBytes }], '/pause')],
  ])
}

interface Found {
  type: string
  digest: string
  blob: Blob
}

/** What the registry has at a path, or nothing. */
function lookUp(images: ReadonlyMap<string, Image>, path: string): Found | undefined {
  const json = (type: string, blob: Buffer): Found => ({ type, digest: sha256(blob), blob })
  if (path === '/v2/' || path === '/v2') return json('application/json', Buffer.from('{}'))
  const [, name, kind, reference] = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path) ?? []
  const found = name === undefined ? undefined : images.get(name)
  if (!found || reference === undefined) return undefined
  if (kind === 'manifests') {
    const known = reference === '1' || reference === sha256(found.manifest)
    return known ? json(MANIFEST_TYPE, found.manifest) : undefined
  }
  const blob = found.blobs.get(reference)
  return blob && { type: 'application/octet-stream', digest: reference, blob }
}

/** First and last byte that a Range header asks for; the whole without one. */
function rangeOf(
  header: string | undefined,
  size: number,
): { first: number; last: number; partial: boolean } {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(header ?? '') ?? []
  if (first === undefined) return { first: 0, last: size - 1, partial: false }
  return { first: Number(first), last: last ? Math.min(Number(last), size - 1) : size - 1, partial: true }
}

function answer(
  images: ReadonlyMap<string, Image>,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const found = lookUp(images, new URL(request.url ?? '/', 'http://registry').pathname)
  if (!found) {
    const errors = [{ code: 'NAME_UNKNOWN', message: 'the bench does not have this' }]
    response.writeHead(404, { 'content-type': 'application/json' }).end(JSON.stringify({ errors }))
    return
  }
  const { type, digest, blob } = found
  const size = Buffer.isBuffer(blob) ? blob.length : blob.size
  const { first, last, partial } = rangeOf(request.headers.range, size)
  response.writeHead(partial ? 206 : 200, {
    'content-type': type,
    'content-length': last - first + 1,
    'docker-content-digest': digest,
    'accept-ranges': 'bytes',
    ...(partial ? { 'content-range': `bytes ${first}-${last}/${size}` } : {}),
  })
  if (request.method === 'HEAD') response.end()
  else if (Buffer.isBuffer(blob)) response.end(blob.subarray(first, last + 1))
  else createReadStream(blob.path, { start: first, end: last, highWaterMark: 1 << 20 }).pipe(response)
}

const referencesOf = (host: string) => ({
  host,
  busybox: `${host}/bench/busybox:1`,
  pause: `${host}/bench/pause:1`,
})

/** Builds both images and serves them from this thread until `close`. Needs a C compiler and busybox-static. */
export async function serveHere(): Promise<ImageSource> {
  const images = await build()
  const server = createServer((request, response) => answer(images, request, response))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('bench: the registry has no port')
  const host = `127.0.0.1:${address.port}`
  return {
    ...referencesOf(host),
    add(image) {
      images.set(image.name, image)
      return `${host}/${image.name}:1`
    },
    async close() {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}

/**
 * The same in a thread of its own, so that what is measured does not wait for the registry. An image that is added
 * is served from the next message on.
 */
export async function serveImages(): Promise<ImageSource> {
  const thread = new Worker(new URL('./registry-thread.ts', import.meta.url))
  const [host] = await once(thread, 'message')
  return {
    ...referencesOf(host),
    add(image) {
      thread.postMessage({ ...image, manifest: image.manifest.toString('base64') })
      return `${host}/${image.name}:1`
    },
    async close() {
      await thread.terminate()
    },
  }
}
