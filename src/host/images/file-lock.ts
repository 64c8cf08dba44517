// SPDX-License-Identifier: Apache-2.0
/**
 * A file as a lock between processes: open, flock, and a look whether the name still is this file. The kernel
 * frees it when its holder dies, so no lock is ever stale.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, stat, unlink } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { abortFault } from '../../base/scope.ts'
import type { Native } from '../native.ts'

/**
 * Opens (and makes) `path` and locks it until the handle is closed; undefined if another has it. Whoever holds
 * it may remove or rename the file. @abort finishes
 */
export async function openLocked(
  native: Pick<Native, 'flock'>,
  path: string,
): Promise<FileHandle | undefined> {
  for (;;) {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    try {
      if (!native.flock(handle.fd)) {
        await handle.close()
        return undefined
      }
      const [own, named] = [await handle.stat(), await stat(path).catch(() => undefined)]
      if (named?.ino === own.ino) return handle
    } catch (e) {
      await handle.close()
      throw e
    }
    // The holder before us has taken the name away: the next round makes it anew.
    await handle.close()
  }
}

/** Between looks at a lock that another process has, milliseconds. */
const POLL_MS = 50

/** Locks `path` until it is disposed of, which removes the file; waits while another has it. @abort stops */
export async function waitForLock(
  signal: AbortSignal,
  native: Pick<Native, 'flock'>,
  path: string,
): Promise<AsyncDisposable> {
  for (;;) {
    if (signal.aborted) throw abortFault(signal)
    const handle = await openLocked(native, path)
    if (handle !== undefined) return held(handle, path)
    await sleep(POLL_MS, undefined, { signal }).catch(() => {})
  }
}

function held(handle: FileHandle, path: string): AsyncDisposable {
  let open = true
  return {
    async [Symbol.asyncDispose]() {
      if (!open) return
      open = false
      await unlink(path).catch(() => {})
      await handle.close()
    },
  }
}

/** Removes a lock file unless somebody has it locked. @abort finishes */
export async function removeFree(native: Pick<Native, 'flock'>, path: string): Promise<void> {
  const handle = await openLocked(native, path)
  if (handle !== undefined) await held(handle, path)[Symbol.asyncDispose]()
}
