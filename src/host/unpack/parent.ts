// SPDX-License-Identifier: Apache-2.0
/**
 * Starts `gantry-unpack` for one layer and waits for it: hands out the pipe that takes the compressed blob, and
 * a promise of the verified result. Whatever goes wrong, the directory is half-made and the caller throws it
 * away, the record with it. Parses no archive.
 */
import type { Writable } from 'node:stream'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import type { UnpackLimits } from '../../model/limits.ts'
import { startProgram, type UnpackDeps } from './child.ts'
import { readResult, type UnpackResult } from './result.ts'

export interface UnpackOptions {
  /** An existing, empty directory. */
  readonly into: string
  /** `sha256:` or `sha512:` and hex, of the compressed blob. */
  readonly digest: string
  /** Bytes of the compressed blob: one more and the blob is refused at once. */
  readonly size: number
  /** Of the tar stream, from the image's configuration; without it the digest is only computed. */
  readonly diffId?: string
  /** A file to be made, outside of `into`: what `packLayer` and `verifyLayer` need later. */
  readonly record?: string
  /** What is not given has the program's own default, which is that of `UNPACK_LIMITS`. */
  readonly limits?: Partial<UnpackLimits> | undefined
}

export interface Unpacking {
  /**
   * Takes the blob; end it after the last byte. It may break (EPIPE) when the program has refused the layer:
   * `result` then has the reason, so prefer its rejection to the writer's.
   */
  readonly stdin: Writable
  /** Settles when the process has been reaped: `corrupt`, `unsupported`, `exhausted`, `internal`, `cancelled`. */
  readonly result: Promise<UnpackResult>
  /** Ends the process; `result` then rejects with kind `cancelled`. Idempotent. */
  kill(): void
}

/**
 * Starts unpacking. Throws a Fault when nothing could be started; every later failure is the result's. The end
 * of the scope kills the process and is awaited by `result`. @abort kills
 */
export function startUnpack(scope: Scope, deps: UnpackDeps, options: UnpackOptions): Unpacking {
  const what = `unpack layer ${options.digest}`
  const program = startProgram(scope, deps, { what, argv: argvOf(options), input: true })
  if (program.stdin === undefined) throw new Fault('internal', `${what}: no pipe to the program`)
  const result = program.exit.then((exit) => readResult(what, exit))
  result.catch(() => {}) // a caller that first awaits its own writing must not meet an unhandled rejection
  return { stdin: program.stdin, result, kill: program.kill }
}

function argvOf({ into, digest, size, diffId, record, limits = {} }: UnpackOptions): string[] {
  const argv = ['--into', into, '--digest', digest, '--size', `${size}`]
  const more: readonly (readonly [string, string | number | undefined])[] = [
    ['--diff-id', diffId],
    ['--record', record],
    ['--max-bytes', limits.layerBytes],
    ['--max-entries', limits.entries],
    ['--max-ratio', limits.ratio],
    ['--devices', limits.devices],
  ]
  for (const [name, value] of more) if (value !== undefined) argv.push(name, `${value}`)
  return argv
}
