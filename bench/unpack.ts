// SPDX-License-Identifier: Apache-2.0
/**
 * Unpacking alone, against `tar -xzf`: one layer of 210 MB on tmpfs, the five layers of the image set (350 MB, 20 000
 * files) one after another on disk, and what the record costs. Each figure is the median of the ratios of pairs,
 * taken in turn, so that it holds on a busy machine. `sh scripts/npm.sh node bench/unpack.ts [PAIRS]`, as root; ends
 * with 1 when a figure misses its budget. Pulls as a whole are measured by the suite `images` of run.ts.
 */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import { imageSet } from './image-set.ts'
import { quantile } from './samples.ts'

const PROGRAM = fileURLToPath(new URL('../native/build/gantry-unpack', import.meta.url))
const PAIRS = Number(process.argv[2] ?? 7)
const END = 1024

interface Blob {
  readonly path: string
  readonly digest: string
  readonly size: number
}

type Way = (blob: Blob, into: string) => void

function blobAt(path: string): Blob {
  const digest = `sha256:${createHash('sha256').update(readFileSync(path)).digest('hex')}`
  return { path, digest, size: statSync(path).size }
}

function run(file: string, argv: readonly string[], from?: string): void {
  const input = from === undefined ? 'ignore' : openSync(from, 'r')
  const done = spawnSync(file, argv, { stdio: [input, 'ignore', 'inherit'] })
  if (typeof input === 'number') closeSync(input)
  if (done.status !== 0) throw new Error(`${file} ended with ${done.status ?? done.signal}`)
}

const byTar: Way = (blob, into) => run('tar', ['-xzf', blob.path, '-C', into])
const plain: Way = (blob, into) =>
  run(PROGRAM, ['--into', into, '--digest', blob.digest, '--size', `${blob.size}`], blob.path)
const recorded: Way = (blob, into) =>
  run(
    PROGRAM,
    ['--into', into, '--digest', blob.digest, '--size', `${blob.size}`, '--record', `${into}.record`],
    blob.path,
  )

/**
 * Seconds for all blobs into fresh folders. The folders stay until the end: ext4 is slow to make files where it has
 * just removed others, which would be charged to whoever comes next.
 */
function seconds(way: Way, blobs: readonly Blob[], into: string): number {
  const folders = blobs.map((_, i) => join(into, `${i}`))
  for (const folder of folders) mkdirSync(folder, { recursive: true })
  run('sync', [])
  const start = process.hrtime.bigint()
  blobs.forEach((blob, i) => {
    way(blob, folders[i] ?? into)
  })
  return Number(process.hrtime.bigint() - start) / 1e9
}

interface Comparison {
  readonly name: string
  readonly ours: Way
  readonly theirs: Way
  readonly blobs: readonly Blob[]
  readonly on: string
  readonly most: number
}

/** Measures, prints a line, and says whether the budget is met. */
function compare({ name, ours, theirs, blobs, on, most }: Comparison): boolean {
  const folder = mkdtempSync(join(on, 'gt-bench-unpack-'))
  const pairs: { a: number; b: number }[] = []
  try {
    for (let i = 0; i <= PAIRS; i++) {
      const a = seconds(ours, blobs, join(folder, `${i}a`))
      const b = seconds(theirs, blobs, join(folder, `${i}b`))
      if (i > 0) pairs.push({ a, b }) // the first pair warms up
      if (on === '/dev/shm') for (const side of 'ab') rmSync(join(folder, `${i}${side}`), { recursive: true })
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const ratios = pairs.map(({ a, b }) => a / b)
  const at = (values: readonly number[], q: number) => quantile(values, q).toFixed(3)
  const [a, b] = [pairs.map((p) => p.a), pairs.map((p) => p.b)]
  const ratio = quantile(ratios, 0.5)
  const verdict = ratio <= most ? 'met' : 'MISSED'
  console.log(
    `${name.padEnd(46)} ${at(a, 0.5)} s / ${at(b, 0.5)} s = ${at(ratios, 0.5)} ` +
      `(${at(ratios, 0)} to ${at(ratios, 1)}), at most ${most}: ${verdict}`,
  )
  return ratio <= most
}

/** The image's first three layers as one, gzip as registries have it. */
function oneLayer(layers: readonly string[], into: string): Blob {
  const tars = layers.slice(0, 3).map((path) => gunzipSync(readFileSync(path)))
  const whole = tars.map((tar, i) => (i < tars.length - 1 ? tar.subarray(0, -END) : tar))
  writeFileSync(into, gzipSync(Buffer.concat(whole), { level: 6 }))
  return blobAt(into)
}

const scratch = mkdtempSync('/dev/shm/gt-bench-unpack-')
try {
  const { gzip } = await imageSet(0)
  const layers = gzip.layers.map(blobAt)
  const one = [oneLayer(gzip.layers, join(scratch, 'layer.tar.gz'))]
  const results = [
    { name: 'one layer of 210 MB on tmpfs, against tar', blobs: one, on: '/dev/shm', most: 0.4 },
    { name: 'five layers, 350 MB, 20 000 files, against tar', blobs: layers, on: tmpdir(), most: 0.5 },
  ].map((what) => compare({ ...what, ours: recorded, theirs: byTar }))
  const record = { name: 'the record: with it, against without', ours: recorded, theirs: plain }
  results.push(compare({ ...record, blobs: layers, on: '/dev/shm', most: 1.03 }))
  process.exitCode = results.every((met) => met) ? 0 : 1
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
