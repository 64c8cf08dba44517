// SPDX-License-Identifier: Apache-2.0
/**
 * The unpacker under libFuzzer for half a minute, from the seeds and from what it has found before
 * (native/fuzz/found/). GANTRY_FUZZ_SECONDS=N makes it longer, GANTRY_FUZZ_CORPUS=DIR keeps what it learns. What
 * it finds is kept in native/build/fuzz/, and runs again by `native/build/unpack-fuzz FILE`.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { seedBlobs } from './unpack-seeds.ts'

const NATIVE = fileURLToPath(new URL('../../native', import.meta.url))
const FOUND = join(NATIVE, 'build/fuzz/')
const SECONDS = Number(process.env.GANTRY_FUZZ_SECONDS ?? 30)
const PROBE = 'int LLVMFuzzerTestOneInput(const char *d, unsigned long n) { return d[n - 1] > 0; }'
const clang =
  spawnSync('clang', ['-fsanitize=fuzzer', '-x', 'c', '-', '-o', '/dev/null'], { input: PROBE }).status === 0

test.skipIf(!clang)(
  clang
    ? 'no input crashes it, and what it takes comes back'
    : 'skipped: this machine has no clang with libFuzzer',
  () => {
    const make = ['-s', '-C', NATIVE, 'fuzz-unpack']
    execFileSync('make', make, { stdio: ['ignore', 'ignore', 'inherit'] })
    mkdirSync(FOUND, { recursive: true })
    const folder = mkdtempSync(join(tmpdir(), 'gt-fuzz-'))
    try {
      const work = process.env.GANTRY_FUZZ_CORPUS ?? join(folder, 'work')
      const seeds = join(folder, 'seeds')
      for (const each of [work, seeds]) mkdirSync(each, { recursive: true })
      for (const [name, blob] of Object.entries(seedBlobs())) writeFileSync(join(seeds, name), blob)
      const found = join(NATIVE, 'fuzz/found')
      const bounds = [`-max_total_time=${SECONDS}`, '-timeout=20', '-rss_limit_mb=2048', '-max_len=65536']
      const from = [work, seeds, ...(existsSync(found) ? [found] : [])]
      const run = spawnSync(
        join(NATIVE, 'build/unpack-fuzz'),
        [...bounds, `-artifact_prefix=${FOUND}`, ...from],
        { encoding: 'utf8', maxBuffer: 1 << 26 },
      )
      expect(run.status, run.stderr.slice(-6000)).toBe(0)
      // It ran indeed, and learnt something beyond its seeds.
      expect(Number(/^Done (\d+) runs/m.exec(run.stderr)?.[1])).toBeGreaterThan(1000)
      expect(readdirSync(work).length).toBeGreaterThan(Object.keys(seedBlobs()).length)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
  180_000 + SECONDS * 1000,
)
