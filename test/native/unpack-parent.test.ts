// SPDX-License-Identifier: Apache-2.0
/** The TypeScript parent with the real addon and the real program: results, refusals, abort, nothing left over. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Fault } from '../../src/base/fault.ts'
import { silent } from '../../src/base/log.ts'
import type { Scope } from '../../src/base/scope.ts'
import { startUnpack } from '../../src/host/unpack/parent.ts'
import { UNPACK_LIMITS } from '../../src/model/limits.ts'
import { tarArchive, tarEntry } from '../support/tar-writer.ts'
import { native } from './addon-fixture.ts'
import { ground, sha256, UNPACK } from './unpack-fixture.ts'

const tar = tarArchive(
  tarEntry({ name: 'etc/motd' }, 'hello'),
  tarEntry({ name: 'big' }, Buffer.alloc(3_000_000, 'b')),
)
const blob = gzipSync(tar, { level: 0 })
const deps = { native, program: UNPACK }

function scope(): { scope: Scope; abort: (why?: unknown) => void } {
  const controller = new AbortController()
  return { scope: { signal: controller.signal, log: silent }, abort: (why) => controller.abort(why) }
}

/** Pipes this process holds. */
function pipes(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('pipe:')
    } catch {
      return false
    }
  }).length
}

/** Live or unreaped children with the program's name. */
function children(): number {
  const tasks = readdirSync('/proc/self/task')
  const pids = tasks.flatMap((t) => readFileSync(`/proc/self/task/${t}/children`, 'utf8').trim().split(' '))
  return pids.filter((p) => p !== '' && readFileSync(`/proc/${p}/comm`, 'utf8').startsWith('gantry-unpack'))
    .length
}

let before = 0
beforeEach(() => {
  before = pipes()
})
afterEach(async () => {
  expect(children()).toBe(0)
  await expect.poll(pipes).toBe(before)
})

describe('startUnpack', () => {
  test('gives the verified result', async () => {
    using g = ground()
    const u = startUnpack(scope().scope, deps, {
      into: g.layer,
      digest: sha256(blob),
      size: blob.length,
      diffId: sha256(tar),
    })
    await pipeline(Readable.from([blob.subarray(0, 1000), blob.subarray(1000)]), u.stdin)
    expect(await u.result).toMatchObject({
      blobDigest: sha256(blob),
      diffId: sha256(tar),
      blobSize: blob.length,
      entries: 2,
      implied: ['etc'],
      warnings: [],
    })
    expect(readFileSync(join(g.layer, 'etc/motd'), 'utf8')).toBe('hello')
  })

  test('a refusal breaks the writer, and the result says why', async () => {
    using g = ground()
    const u = startUnpack(scope().scope, deps, { into: g.layer, digest: sha256(blob), size: 1000 })
    const writing = pipeline(Readable.from([blob, blob, blob]), u.stdin).catch((e: unknown) => e)
    await expect(u.result).rejects.toMatchObject({
      kind: 'corrupt',
      message: `unpack layer ${sha256(blob)}: read: the blob is longer than the declared 1000 bytes`,
    })
    await writing
  })

  test('limits reach the program', async () => {
    using g = ground()
    const u = startUnpack(scope().scope, deps, {
      into: g.layer,
      digest: sha256(blob),
      size: blob.length,
      limits: { layerBytes: 4096, entries: 9, ratio: 2, devices: 'refuse' },
    })
    u.stdin.end(blob)
    await expect(u.result).rejects.toMatchObject({ kind: 'exhausted' })
  })

  test('the defaults of the program and of the configuration are the same numbers', () => {
    const header = readFileSync(new URL('../../native/unpack/unpack.h', import.meta.url), 'utf8')
    const text = (name: string) =>
      new RegExp(`#define DEFAULT_${name} +\\(?(\\d+)(?:ull)?(?: << (\\d+))?`).exec(header)
    const value = (name: string) => Number(text(name)?.[1]) * 2 ** Number(text(name)?.[2] ?? 0)
    expect(UNPACK_LIMITS).toMatchObject({
      layerBytes: value('MAX_BYTES'),
      entries: value('MAX_ENTRIES'),
      ratio: value('MAX_RATIO'),
    })
  })

  test('the end of the scope kills the process and keeps the reason', async () => {
    using g = ground()
    const { scope: s, abort } = scope()
    const u = startUnpack(s, deps, { into: g.layer, digest: sha256(blob), size: blob.length })
    u.stdin.write(blob.subarray(0, 100_000))
    expect(children()).toBe(1)
    abort(new Fault('timeout', 'too slow'))
    await expect(u.result).rejects.toMatchObject({ kind: 'timeout', message: /unpack layer .*: too slow/ })
  })

  test('kill stops it, twice too', async () => {
    using g = ground()
    const u = startUnpack(scope().scope, deps, { into: g.layer, digest: sha256(blob), size: blob.length })
    u.kill()
    u.kill()
    await expect(u.result).rejects.toMatchObject({ kind: 'cancelled' })
  })

  test('kill after the end changes nothing', async () => {
    using g = ground()
    const u = startUnpack(scope().scope, deps, { into: g.layer, digest: sha256(blob), size: blob.length })
    u.stdin.end(blob)
    await u.result
    u.kill()
    expect((await u.result).entries).toBe(2)
  })

  test('nothing is started in a scope that has ended, nor without the program', () => {
    using g = ground()
    const options = { into: g.layer, digest: sha256(blob), size: blob.length }
    const { scope: s, abort } = scope()
    abort()
    expect(() => startUnpack(s, deps, options)).toThrow(/went away/)
    expect(() => startUnpack(scope().scope, { native, program: '/no/such' }, options)).toThrow(
      /cannot start \/no\/such/,
    )
  })
})
