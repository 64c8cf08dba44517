// SPDX-License-Identifier: Apache-2.0
/**
 * Mutated archives through the sanitized `gantry-unpack`: any answer is right, a crash, a sanitizer report, a
 * hang or a byte outside the layer is not. The mutations are a function of the seed, so a failure can be run
 * again alone: GANTRY_FUZZ_SEED=N takes one, GANTRY_FUZZ_RUNS=N makes more of them.
 */
import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { beforeAll, expect, test } from 'vitest'
import { base256 } from '../support/tar-writer.ts'
import { ground, UNPACK_ASAN, unpack } from './unpack-fixture.ts'
import { seedArchive } from './unpack-seeds.ts'

const RUNS = Number(process.env.GANTRY_FUZZ_RUNS ?? 300)
const ONE = process.env.GANTRY_FUZZ_SEED
const WIDTH = 2

beforeAll(() => {
  const native = fileURLToPath(new URL('../../native', import.meta.url))
  execFileSync('make', ['-s', '-C', native, 'build/gantry-unpack-asan'], {
    stdio: ['ignore', 'ignore', 'inherit'],
  })
}, 120_000)

type Random = (below: number) => number

/** A small generator with full 32-bit state (Weyl sequence and a mixing step). */
function random(seed: number): Random {
  let state = seed >>> 0
  return (below) => {
    state = (state + 0x9e3779b9) >>> 0
    let x = state
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad)
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97)
    return ((x ^ (x >>> 15)) >>> 0) % below
  }
}

/** The archive as members, each a header with its data, so that most mutants stay in step. */
function members(tar: Buffer): Buffer[] {
  const out: Buffer[] = []
  for (let at = 0; at < tar.length; ) {
    const size = Number.parseInt(tar.toString('latin1', at + 124, at + 135), 8) || 0
    const end = at + 512 + Math.ceil(size / 512) * 512
    out.push(Buffer.from(tar.subarray(at, end)))
    at = end
  }
  return out
}

/** Puts the right checksum into what looks like a header: without that all mutants would end at the same check. */
function mend(block: Buffer): void {
  if (block.length < 512 || block.toString('latin1', 257, 262) !== 'ustar') return
  block.fill(' ', 148, 156)
  let sum = 0
  for (const byte of block.subarray(0, 512)) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1')
}

const NUMBERS = [
  base256(-1n, 12),
  base256(1n << 40n, 12),
  Buffer.from('00000000001\0'),
  Buffer.alloc(12, '7'),
  Buffer.alloc(12),
]
const TYPES = '\x0001234567xgLKSVX'
const NAMES = [
  '..',
  '../x',
  '/',
  '.wh.',
  '.wh..wh..opq',
  'l/x',
  'd',
  'd/../d',
  'a'.repeat(100),
  '\xff\xfe',
  'd/d/d/d/d',
]

function mutate(list: Buffer[], r: Random): void {
  const at = r(list.length)
  const block = list[at]
  if (block === undefined) return
  const pick = <T>(from: readonly T[]): T => from[r(from.length)] as T
  switch (r(9)) {
    case 0:
      block[r(2) ? r(512) : r(block.length)] = r(256)
      break
    case 1:
      list.splice(at, 1)
      break
    case 2:
      list.splice(r(list.length), 0, Buffer.from(block))
      break
    case 3: // sizes, owners, times
      pick(NUMBERS).copy(block, pick([100, 108, 116, 124, 136, 329, 337, 386, 398, 483]))
      break
    case 4:
      block[156] = TYPES.charCodeAt(r(TYPES.length))
      break
    case 5: // a name or a link
      Buffer.from(`${pick(NAMES)}\0`, 'latin1').copy(block, pick([0, 157, 345]))
      break
    case 6:
      list[at] = pick(list)
      break
    case 7: // digits of records and maps
      for (let i = 512 + r(40); i < block.length; i += 1 + r(60)) {
        const c = block[i] ?? 0
        if (c >= 0x30 && c <= 0x39) block[i] = 0x30 + r(10)
      }
      break
    default:
      block.fill(r(256), r(512), r(512))
  }
}

/** The mutated blob of a seed: mostly tar blocks, sometimes the compressed bytes themselves. */
function mutant(seed: number): Buffer {
  const r = random(seed)
  const list = members(seedArchive())
  for (let n = 1 + r(6); n > 0; n--) mutate(list, r)
  if (r(10) > 0) for (const block of list) mend(block)
  const tar = Buffer.concat(list)
  if (r(4) > 0) return tar
  const blob = r(2) ? gzipSync(tar) : zstdCompressSync(tar)
  for (let n = 1 + r(3); n > 0; n--) blob[r(blob.length)] = r(256)
  return r(4) ? blob : blob.subarray(0, r(blob.length))
}

async function runSeed(seed: number): Promise<boolean> {
  using g = ground()
  const more = ['--max-bytes', '50000000', '--max-entries', '1000']
  const answer = await unpack(g.layer, mutant(seed), { program: UNPACK_ASAN, more })
  g.assertOutsideUntouched()
  expect({ seed, signal: answer.signal, stderr: answer.stderr }).toEqual({ seed, signal: null, stderr: '' })
  expect([0, 1], `seed ${seed}`).toContain(answer.code)
  expect(answer.json !== undefined, `seed ${seed} has a result line`).toBe(true)
  return answer.code === 0
}

test('the archive that is mutated is a good one, with all that the mutants vary', async () => {
  using g = ground()
  const answer = await unpack(g.layer, seedArchive(), { program: UNPACK_ASAN })
  expect(answer.error).toBeUndefined()
  expect(answer.json).toMatchObject({ entries: 24, implied: [] })
})

test(
  'mutants end with an answer, never with a crash',
  async () => {
    const seeds = ONE === undefined ? Array.from({ length: RUNS }, (_, i) => i + 1) : [Number(ONE)]
    let whole = 0
    const lane = async (): Promise<void> => {
      for (let seed = seeds.pop(); seed !== undefined; seed = seeds.pop()) if (await runSeed(seed)) whole++
    }
    await Promise.all(Array.from({ length: WIDTH }, lane))
    // Proof that the mutants are neither all harmless nor all stopped at the first check.
    if (ONE === undefined) {
      expect(whole).toBeGreaterThan(RUNS / 50)
      expect(whole).toBeLessThan(RUNS * 0.9)
    }
  },
  60_000 + RUNS * 400,
)
