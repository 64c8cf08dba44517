// SPDX-License-Identifier: Apache-2.0
/**
 * Gives the tar stream of a layer back, byte for byte as it was unpacked, from the layer's tree and the record
 * that the unpacking left beside it. `gantry-unpack` does it, in the same sandbox and with the tree read-only.
 * Compresses nothing, and knows no store.
 */
import { Readable } from 'node:stream'
import type { Scope } from '../../base/scope.ts'
import { startProgram, type UnpackDeps } from './child.ts'
import { type PackResult, readPackResult } from './result.ts'

export interface PackOptions {
  /** The layer's root directory, absolute. */
  readonly fs: string
  /** Absolute path of the record. */
  readonly record: string
  /** `sha256:` or `sha512:` and hex, of the tar stream: what comes out is held against it. */
  readonly diffId: string
}

export interface Packing {
  /**
   * The uncompressed tar. It ends when the digest was right, and fails with the Fault of `result` otherwise, also
   * after the last byte: what was made of it then is to be thrown away. Destroying it ends the process.
   */
  readonly stdout: Readable
  /**
   * Settles when the process has been reaped, which needs a reader of `stdout`. `unsupported`: this layer cannot
   * be given back (an entry replaced another's content). `corrupt`: the tree or the record is not what it was.
   */
  readonly result: Promise<PackResult>
  /** Ends the process; `result` and `stdout` then fail with kind `cancelled`. Idempotent. */
  kill(): void
}

/** Starts packing. Throws a Fault when nothing could be started; changes nothing on disk. @abort kills */
export function packLayer(scope: Scope, deps: UnpackDeps, options: PackOptions): Packing {
  const what = `pack layer ${options.diffId}`
  const argv = ['--pack', options.fs, '--record', options.record, '--diff-id', options.diffId]
  const program = startProgram(scope, deps, { what, argv, output: true })
  const result = program.exit.then((exit) => readPackResult(what, exit))
  result.catch(() => {}) // the stream tells it too
  async function* pieces() {
    for await (const piece of program.stdout ?? []) yield piece
    await result
  }
  return { stdout: Readable.from(pieces(), { objectMode: false }), result, kill: program.kill }
}
