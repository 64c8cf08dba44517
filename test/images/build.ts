// SPDX-License-Identifier: Apache-2.0
/**
 * build: makes the test images into an OCI layout folder, once. `node test/images/build.ts [--out DIR]`, or
 * `ensureTestImages()` from a test. While its inputs (the sources here, busybox, nginx and its libraries) are
 * those of the last time it only opens the folder. The folder appears by rename: several test files may ask at
 * once, and nobody sees half of it.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Layout } from '../support/oci-layout.ts'
import { readLayout, writeLayout } from '../support/oci-layout.ts'
import { allImages } from './catalog.ts'
import { busyboxPath, compilePrograms, nginxFiles, readBusybox, readNginx, sourceDir } from './debian.ts'

const here = dirname(fileURLToPath(import.meta.url))
export const defaultOut = join(here, 'out')

interface Stamp {
  readonly v: 1
  readonly node: string
  /** Of each source, by content. */
  readonly sources: string
  /** Of each file of the machine: path, size and modification time. */
  readonly machine: readonly string[]
}

async function sourcesHash(): Promise<string> {
  const hash = createHash('sha256')
  const files = [
    ...(await readdir(here)).filter((f) => f.endsWith('.ts')).map((f) => join(here, f)),
    ...(await readdir(sourceDir)).map((f) => join(sourceDir, f)),
    join(here, '../support/oci-image.ts'),
    join(here, '../support/oci-layer.ts'),
    join(here, '../support/oci-layout.ts'),
  ].sort()
  for (const file of files)
    hash
      .update(`${file.slice(here.length)}\0`)
      .update(await readFile(file))
      .update('\0')
  return hash.digest('hex')
}

/** `path size mtime` of a file of the machine, links followed; or that it is not there. */
async function machineLine(path: string): Promise<string> {
  try {
    const real = await realpath(path)
    const s = await stat(real, { bigint: true })
    return `${path} ${real} ${s.size} ${s.mtimeNs}`
  } catch {
    return `${path} absent`
  }
}

async function stampNow(paths: readonly string[]): Promise<Stamp> {
  return {
    v: 1,
    node: process.version,
    sources: await sourcesHash(),
    machine: await Promise.all(paths.map(machineLine)),
  }
}

/** The layout in `out` if it was built from what is there now. */
async function current(out: string): Promise<Layout | undefined> {
  const text = await readFile(join(out, 'stamp.json'), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const old: Stamp = JSON.parse(text)
  const now = await stampNow(old.machine.map((line) => line.split(' ')[0] ?? ''))
  return JSON.stringify(now) === text ? readLayout(out) : undefined
}

/** Puts a finished folder in the place of `out`; when another process was quicker, theirs stays. */
async function swapIn(fresh: string, out: string): Promise<void> {
  const old = `${out}.${process.pid}.old`
  await rename(out, old).catch(() => undefined)
  await rename(fresh, out).catch(async (e: unknown) => {
    if ((await current(out)) === undefined) throw e
  })
  await rm(old, { recursive: true, force: true })
}

/** The layout that holds every test image, built first when it is absent or out of date. Idempotent. */
export async function ensureTestImages(out: string = defaultOut): Promise<Layout> {
  const there = await current(out)
  if (there !== undefined) return there
  const fresh = `${out}.${process.pid}.new`
  try {
    await rm(fresh, { recursive: true, force: true })
    const stamp = await stampNow([busyboxPath, ...(await nginxFiles())])
    const [busybox, nginx, programs] = await Promise.all([readBusybox(), readNginx(), compilePrograms()])
    await writeLayout(fresh, await allImages({ busybox, nginx, programs }))
    await writeFile(join(fresh, 'stamp.json'), JSON.stringify(stamp))
    await swapIn(fresh, out)
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  return readLayout(out)
}

async function main(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--out')
  const out = at < 0 ? defaultOut : args[at + 1]
  if (out === undefined || args.length > 2 || (at < 0 && args.length > 0)) {
    process.stderr.write('usage: node test/images/build.ts [--out DIR]\n')
    process.exitCode = 2
    return
  }
  const layout = await ensureTestImages(resolve(out))
  for (const name of layout.names) process.stdout.write(`${layout.image(name).digest}  ${name}\n`)
}

if (process.argv[1] !== undefined && (await realpath(process.argv[1])) === fileURLToPath(import.meta.url))
  await main(process.argv.slice(2))
