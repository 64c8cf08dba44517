// SPDX-License-Identifier: Apache-2.0
/** auth-file: a change of the file with credentials that no other login or logout comes between. */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { errnoCode, Fault } from '../base/fault.ts'
import { waitForLock } from '../host/images/file-lock.ts'
import { ADDON, loadNative } from '../host/native.ts'
import { type AuthFile, changeAuthFile, readAuthFile } from '../host/registry/auth-file.ts'

type Change = Parameters<typeof changeAuthFile>[2]

const LOCK_MS = 30_000
const addon = () => loadNative(fileURLToPath(new URL(`../../native/build/${ADDON}`, import.meta.url)))

/** Changes the file as it is then; a missing one is made with its folder. Throws `unavailable`, `invalid`. */
export async function changeAlone(
  path: string,
  decide: (file: AuthFile | undefined) => Change,
): Promise<void> {
  await using _ = await lock(path)
  const file = await readAuthFile(path)
  await changeAuthFile(path, file, decide(file))
}

async function lock(path: string): Promise<AsyncDisposable> {
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o755 })
    return await waitForLock(AbortSignal.timeout(LOCK_MS), addon(), `${path}.lock`)
  } catch (e) {
    const why = errnoCode(e) ?? `another login has kept ${path}.lock for ${LOCK_MS / 1000} s`
    throw new Fault('unavailable', `${path} cannot be written: ${why}`, { cause: e })
  }
}
