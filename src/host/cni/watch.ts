// SPDX-License-Identifier: Apache-2.0
/**
 * Noticing that the conf folder may have changed: inotify on the folder and on its parent (the folder may be
 * made, renamed, or be a link that is turned elsewhere), and a poll for what inotify does not see. Promises to
 * call `onHint` soon after every change, and sometimes without one. Does not read the files.
 */
import { type FSWatcher, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'

export interface WatchOptions {
  readonly dir: string
  readonly pollMs: number
  /** Many events of one change become one hint. */
  readonly settleMs: number
  readonly onHint: () => void
}

interface Watched {
  readonly path: string
  identity: string | undefined
  watcher: FSWatcher | undefined
}

/** Begins to watch; dispose to end. Keeps no process alive. Never throws: the poll is there when inotify is not. */
export function watchConfDir(options: WatchOptions): Disposable {
  const dir = resolve(options.dir)
  const targets: Watched[] = [dir, dirname(dir)].map((path) => ({
    path,
    identity: undefined,
    watcher: undefined,
  }))
  let closed = false
  let settle: NodeJS.Timeout | undefined
  const hint = () => {
    if (closed || settle) return
    settle = setTimeout(() => {
      settle = undefined
      void tick()
    }, options.settleMs)
    settle.unref()
  }
  const tick = async () => {
    // Watch first, then tell: a change in between is seen by one or the other.
    for (const t of targets) await rearm(t, hint, () => closed)
    if (!closed) options.onHint()
  }
  const poll = setInterval(() => void tick(), options.pollMs)
  poll.unref()
  void tick()
  return {
    [Symbol.dispose]: () => {
      closed = true
      clearTimeout(settle)
      clearInterval(poll)
      for (const t of targets) t.watcher?.close()
    },
  }
}

/** Watches what the path leads to now, unless that is watched already. Birth time: inode numbers are used again. */
async function rearm(target: Watched, hint: () => void, isClosed: () => boolean): Promise<void> {
  let identity: string | undefined
  try {
    const s = await stat(target.path, { bigint: true })
    identity = `${s.dev} ${s.ino} ${s.birthtimeNs}`
  } catch {
    identity = undefined
  }
  if (isClosed() || (identity === target.identity && (identity === undefined || target.watcher))) return
  target.watcher?.close()
  target.watcher = undefined
  target.identity = identity
  if (identity === undefined) return
  try {
    const watcher = watch(target.path, { persistent: false }, hint)
    watcher.on('error', () => {
      watcher.close()
      if (target.watcher === watcher) target.watcher = undefined
    })
    target.watcher = watcher
  } catch {
    target.watcher = undefined
  }
}
