// SPDX-License-Identifier: Apache-2.0
/**
 * Image set: the images that one round of the `images` suite pulls, made once and kept as files in `out/image-set`:
 * a large one of five layers with 20 000 files and 350 MB, by gzip and by zstd, and fifty small ones. Nothing is
 * shared, also not with another round, so that nothing has to be removed between pulls: ext4 makes files many
 * times slower for minutes after a large deletion. The contents come from a counter: every machine makes the same.
 */
import { createHash } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { gzip, zstdCompress } from 'node:zlib'
import { pack } from 'tar-stream'

const FOLDER = fileURLToPath(new URL('out/image-set', import.meta.url))
/** Changes whenever what is made here changes. */
const EDITION = '3'
const LAYERS = 5
const FILES_PER_LAYER = 4000
const LAYER_BYTES = 70_000_000
const SMALL_IMAGES = 50
const SMALL_BYTES = 200_000
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
const LAYER = 'application/vnd.oci.image.layer.v1.tar'

export interface StoredImage {
  readonly name: string
  readonly manifest: Buffer
  /** Where each blob lies, by digest. */
  readonly blobs: ReadonlyMap<string, { readonly path: string; readonly size: number }>
  /** Files of the layers, bottom first. */
  readonly layers: readonly string[]
}

export interface ImageSet {
  readonly gzip: StoredImage
  readonly zstd: StoredImage
  readonly small: readonly StoredImage[]
}

type Packing = 'gzip' | 'zstd'
const compress = {
  gzip: (bytes: Buffer) => promisify(gzip)(bytes, { level: 6 }),
  zstd: (bytes: Buffer) => promisify(zstdCompress)(bytes),
}
const sha256 = (bytes: Buffer): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`

/** Bytes that compress about as well as programs and texts do: a third is noise, the rest repeats. */
function content(size: number, seed: string): Buffer {
  const out = Buffer.alloc(size + 256)
  let noise = createHash('sha512').update(seed).digest()
  for (let at = 0; at < size; at += 192) {
    noise = createHash('sha512').update(noise).digest()
    noise.copy(out, at)
    out.write(
      `${seed} line ${at} of a text that goes on and on, as logs and programs do.\n`,
      at + 64,
      'latin1',
    )
  }
  return out.subarray(0, size)
}

async function tarOf(files: number, bytes: number, seed: string): Promise<Buffer> {
  const stream = pack()
  const chunks: Buffer[] = []
  const all = (async () => {
    for await (const chunk of stream) if (Buffer.isBuffer(chunk)) chunks.push(chunk)
  })()
  const mtime = new Date(0)
  // Sizes as in a distribution: most files are small, a tenth holds most of the bytes.
  const large = Math.max(1, Math.floor(files / 10))
  const largeBytes = Math.floor((bytes * 0.8) / large)
  const smallBytes = Math.floor((bytes * 0.2) / Math.max(1, files - large))
  for (let i = 0; i < files; i++) {
    if (i % 50 === 0) stream.entry({ name: `usr/${seed}/d${i / 50}/`, type: 'directory', mode: 0o755, mtime })
    const size = i < large ? largeBytes : smallBytes
    const name = `usr/${seed}/d${Math.floor(i / 50)}/file-${i}`
    stream.entry({ name, mode: 0o644, mtime }, content(size, `${seed}-${i}`))
  }
  stream.finalize()
  await all
  return Buffer.concat(chunks)
}

async function keep(folder: string, bytes: Buffer): Promise<{ digest: string; size: number }> {
  const digest = sha256(bytes)
  await writeFile(join(folder, digest.slice(7)), bytes)
  return { digest, size: bytes.length }
}

async function makeImage(folder: string, tars: readonly Buffer[], packing: Packing): Promise<Buffer> {
  const layers = []
  for (const tar of tars)
    layers.push({ mediaType: `${LAYER}+${packing}`, ...(await keep(folder, await compress[packing](tar))) })
  const config = await keep(
    folder,
    Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        config: { Cmd: ['/bin/true'] },
        rootfs: { type: 'layers', diff_ids: tars.map(sha256) },
      }),
    ),
  )
  const described = { mediaType: 'application/vnd.oci.image.config.v1+json', ...config }
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST, config: described, layers }))
}

async function make(folder: string, round: number): Promise<void> {
  for (const packing of ['gzip', 'zstd'] as const) {
    const tars: Buffer[] = []
    for (let i = 0; i < LAYERS; i++)
      tars.push(await tarOf(FILES_PER_LAYER, LAYER_BYTES, `${packing}${round}-${i}`))
    await writeFile(join(folder, `${packing}.json`), await makeImage(folder, tars, packing))
  }
  for (let i = 0; i < SMALL_IMAGES; i++) {
    const tar = await tarOf(20, SMALL_BYTES, `small${round}-${i}`)
    await writeFile(join(folder, `small-${i}.json`), await makeImage(folder, [tar], 'gzip'))
  }
}

async function stored(folder: string, name: string, round: number): Promise<StoredImage> {
  const manifest = await readFile(join(folder, `${name}.json`))
  const { config, layers } = JSON.parse(manifest.toString('utf8')) as {
    config: { digest: string; size: number }
    layers: { digest: string; size: number }[]
  }
  const path = (digest: string) => join(folder, digest.slice(7))
  const blobs = new Map([config, ...layers].map((b) => [b.digest, { path: path(b.digest), size: b.size }]))
  return { name: `bench/${name}-${round}`, manifest, blobs, layers: layers.map((l) => path(l.digest)) }
}

/** The set of a round, made if it is not there yet (about half a minute and 250 MB). */
export async function imageSet(round: number): Promise<ImageSet> {
  const folder = join(FOLDER, `${EDITION}-${round}`)
  if (!existsSync(folder)) {
    const making = join(FOLDER, `making-${process.pid}`)
    await mkdir(making, { recursive: true })
    try {
      await make(making, round)
      await rename(making, folder)
    } finally {
      await rm(making, { recursive: true, force: true })
    }
  }
  const small = Array.from({ length: SMALL_IMAGES }, (_, i) => stored(folder, `small-${i}`, round))
  return {
    gzip: await stored(folder, 'gzip', round),
    zstd: await stored(folder, 'zstd', round),
    small: await Promise.all(small),
  }
}
