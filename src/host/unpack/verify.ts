// SPDX-License-Identifier: Apache-2.0
/**
 * Is a layer still what it was when it was unpacked? Holds the tree against the record beside it: what is there,
 * of which type, size, owner and mode; with `deep` also every byte, by the digest. For the time after a power
 * failure: what differs is fetched again. Repairs nothing.
 */
import type { Scope } from '../../base/scope.ts'
import { startProgram, type UnpackDeps } from './child.ts'
import { readVerifyResult, type VerifyResult } from './result.ts'

export interface VerifyOptions {
  /** The layer's root directory, absolute. */
  readonly fs: string
  /** Absolute path of the record. */
  readonly record: string
  /**
   * The diff ID: reads all content and compares the digest of the whole archive too. A layer whose archive
   * cannot be given back is compared without its content.
   */
  readonly deep?: string
}

/**
 * Compares, and says the first difference. A record that is missing, cut short or damaged is a difference, no
 * failure: the layer cannot be vouched for. Throws only when it could not look. Changes nothing. @abort kills
 */
export async function verifyLayer(
  scope: Scope,
  deps: UnpackDeps,
  options: VerifyOptions,
): Promise<VerifyResult> {
  const what = `verify layer ${options.fs}`
  const argv = ['--verify', options.fs, '--record', options.record]
  if (options.deep !== undefined) argv.push('--diff-id', options.deep)
  return readVerifyResult(what, await startProgram(scope, deps, { what, argv }).exit)
}
