// SPDX-License-Identifier: Apache-2.0
/**
 * OpenPGP by the program gpg: a keyring of just the keys of one requirement, in a temporary folder that only root
 * can enter and that goes with the check. gpg reads no configuration, asks no network and starts no agent; only
 * its status lines are believed.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Fault } from '../../base/fault.ts'
import type { Scope } from '../../base/scope.ts'
import { TRUST } from '../../model/limits.ts'
import type { KeySource } from '../../model/trust-policy.ts'
import { findExecutable, type RunResult, run } from '../exec.ts'
import type { Native } from '../native.ts'
import { bytesOf } from './key-source.ts'

export interface GpgOptions {
  readonly native: Native
  /** An existing folder, below which the keyring's is made. */
  readonly tempDir: string
  /** Names the temporary folder. */
  readonly owner: string
  /** Folders in which gpg is looked for. */
  readonly path?: readonly string[]
}

export interface Keyring extends AsyncDisposable {
  /** What was signed, if it is one good signature by a key of the ring; throws `denied`. @abort kills */
  verify(signature: Buffer): Promise<Buffer>
}

/** The messages of gpg go nowhere, so that nothing can pass for a status line (as in CVE-2018-12020). */
const BASE = [
  '--no-options',
  '--batch',
  '--no-tty',
  '--no-autostart',
  '--logger-file',
  '/dev/null',
  '--status-fd',
  '2',
]
const VERIFY = ['--no-auto-key-retrieve', '--no-auto-check-trustdb', '--trust-model', 'always']
const VERDICTS =
  /^(?:PLAINTEXT|NEWSIG|GOODSIG|VALIDSIG|BADSIG|ERRSIG|EXPSIG|EXPKEYSIG|REVKEYSIG|NODATA|UNEXPECTED|FAILURE)$/
/** MD5, SHA-1 and RIPEMD-160 (RFC 4880, 9.4). */
const WEAK_DIGESTS = new Set(['1', '2', '3'])
const PROGRAM_DIRS = ['/usr/local/bin', '/usr/bin', '/bin']

/** A keyring of `keys`, armored or not. Throws `invalid` when one of them is no key, `unsupported` without gpg. */
export async function keyring(
  scope: Scope,
  options: GpgOptions,
  keys: readonly KeySource[],
): Promise<Keyring> {
  const file = await findExecutable(options.path ?? PROGRAM_DIRS, 'gpg')
  if (file === undefined)
    throw new Fault(
      'unsupported',
      'the signature policy has a "signedBy", for which the program gpg is needed: install GnuPG (Debian: gpg)',
    )
  const home = await mkdtemp(join(options.tempDir, `.tmp-${options.owner}-gpg-`))
  const gpg = (args: readonly string[], stdin: Buffer): Promise<RunResult> =>
    run(scope, options, {
      file,
      argv: ['gpg', '--homedir', home, ...BASE, ...args],
      env: [`HOME=${home}`, `PATH=${PROGRAM_DIRS.join(':')}`, 'LC_ALL=C'],
      cwd: '/',
      stdin,
      maxOutputBytes: TRUST.signatureBytes,
      deadlineMs: TRUST.gpgMs,
      killGraceMs: 500,
    })
  const gone = () => rm(home, { recursive: true, force: true })
  try {
    for (const key of keys) checkImport(await gpg(['--import'], await bytesOf(key)), key)
  } catch (e) {
    await gone()
    throw e
  }
  return {
    async verify(signature) {
      const output = ['--max-output', String(TRUST.signatureBytes), '--output', '-', '--verify']
      const result = await gpg([...VERIFY, ...output], signature)
      checkVerdict(result)
      return result.stdout
    },
    [Symbol.asyncDispose]: gone,
  }
}

/** The status lines, as words. */
function statusOf({ stderr }: RunResult): string[][] {
  const lines = stderr.toString('latin1').split('\n')
  return lines.flatMap((line) => (line.startsWith('[GNUPG:] ') ? [line.slice(9).trim().split(' ')] : []))
}

function checkEnded(result: RunResult): void {
  if (result.reason === 'cancelled') throw new Fault('cancelled', 'the pull was cancelled')
  if (result.reason !== 'exited') throw new Fault('denied', `gpg was ended: ${result.reason}`)
}

function checkImport(result: RunResult, key: KeySource): void {
  checkEnded(result)
  // A key of a kind that this gpg does not know yet is passed over: it can verify nothing.
  if (!statusOf(result).some(([word]) => word === 'IMPORT_OK'))
    throw new Fault(
      'invalid',
      `the signature policy names ${'path' in key ? key.path : 'keyData'}: gpg finds no public key in it`,
    )
}

/** Exactly one text with exactly one signature, which is good and valid now, of a key that is neither expired nor revoked. */
function checkVerdict(result: RunResult): void {
  checkEnded(result)
  const status = statusOf(result)
  const verdicts = status.filter(([word]) => VERDICTS.test(word ?? ''))
  const words = verdicts.map(([word]) => word).join(' ')
  const valid = verdicts.find(([word]) => word === 'VALIDSIG')
  if (result.code === 0 && words === 'PLAINTEXT NEWSIG GOODSIG VALIDSIG') {
    // VALIDSIG fingerprint date time expires version reserved key-algorithm digest-algorithm …
    if (!WEAK_DIGESTS.has(valid?.[8] ?? '1')) return
    throw new Fault('denied', 'it was made with a digest that can be forged (SHA-1 or older)')
  }
  throw new Fault('denied', whyNot(verdicts))
}

function whyNot(verdicts: readonly string[][]): string {
  const count = (word: string) => verdicts.filter(([w]) => w === word).length
  const has = (word: string) => count(word) > 0
  if (count('NEWSIG') > 1 || count('PLAINTEXT') > 1) return 'it holds more than one signature or text'
  if (has('REVKEYSIG')) return 'its key is revoked'
  if (has('EXPKEYSIG')) return 'its key has expired'
  if (has('EXPSIG')) return 'it has expired'
  if (has('BADSIG')) return 'it does not fit what was signed'
  const unknown = verdicts.find(([w]) => w === 'ERRSIG')
  if (unknown) return `it is by the key ${unknown[1] ?? ''}, which is not one of the policy`
  return 'it is not an OpenPGP signature'
}
