// SPDX-License-Identifier: Apache-2.0
/**
 * The addon on one page: the only import of the `.node` file, its types, and the refusal of a wrong ABI.
 * The C side (`native/addon/`) holds no policy; each member is one system call or a short fixed sequence.
 * Errors look like node's: `code` ('ENOENT'), `errno`, `syscall`, `path`. All paths are absolute strings
 * without NUL. Members that return a Promise run off the event loop (on libuv's pool unless said otherwise: a large
 * tree or a hung file system occupies one of its threads); the others are short and do not block. A wrong argument
 * is a TypeError that names the member: thrown, or the rejection where a Promise is returned.
 */
import { createRequire } from 'node:module'
import { Fault } from '../base/fault.ts'

/** ABI number: raised together with `GANTRY_ABI` in `native/addon/addon.c` whenever this page changes. */
export const ABI = 5

/** File name of the addon in the build folder. */
export const ADDON = 'gantry.node'

export type Fd = number

export interface SpawnOptions {
  /** Absolute path of the program; no PATH look-up. */
  readonly file: string
  /** argv with argv[0]. */
  readonly argv: readonly string[]
  /** The whole environment, `NAME=value`. */
  readonly env: readonly string[]
  /** Folder to start in. */
  readonly cwd?: string
  /**
   * Child fd i is a duplicate of the parent's `fds[i]`; -1 is /dev/null; at most 253. All others are closed, also
   * those of ours that are not close-on-exec.
   */
  readonly fds: readonly Fd[]
  /** setsid: no terminal signal of the daemon's group reaches the child. */
  readonly newSession?: boolean
}

export interface NamespaceOptions {
  /** File to pin each new namespace on by bind mount; created if missing, mode 0600. Only the given kinds are made. */
  readonly net?: string
  readonly ipc?: string
  readonly uts?: string
  /** A user namespace, to which the others will belong. Needs `uidMap` and `gidMap`. */
  readonly user?: string
  /** The text of /proc/PID/uid_map and gid_map (user_namespaces(7)): lines of `inside outside length`. */
  readonly uidMap?: string
  readonly gidMap?: string
  /** sethostname inside the new UTS namespace. Needs `uts`. */
  readonly hostname?: string
  /** Bring `lo` up inside the new network namespace. Needs `net`. */
  readonly loopback?: boolean
  /** Written inside the new namespaces, in order: absolute /proc/sys path and value. */
  readonly sysctls?: readonly (readonly [path: string, value: string])[]
}

export interface OverlayOptions {
  /** Read-only layers, topmost first; any number (fsconfig `lowerdir+`, or `lowerdir=` where the kernel lacks it). */
  readonly lower: readonly string[]
  /** Without upper and work the mount is read-only (a read-only bind if there is one layer only). */
  readonly upper?: string
  readonly work?: string
  readonly target: string
  /** `volatile`: no sync on umount. */
  readonly volatile?: boolean
}

export type Propagation =
  | 'private'
  | 'rprivate'
  | 'shared'
  | 'rshared'
  | 'slave'
  | 'rslave'
  | 'unbindable'
  | 'runbindable'

export interface BindOptions {
  readonly source: string
  readonly target: string
  /** Sub-mounts too (AT_RECURSIVE). */
  readonly recursive?: boolean
  readonly readonly?: boolean
  /** Read-only on all sub-mounts (mount_setattr AT_RECURSIVE). Needs `recursive`. */
  readonly recursiveReadonly?: boolean
  readonly nosuid?: boolean
  readonly nodev?: boolean
  readonly noexec?: boolean
  readonly propagation?: Propagation
  /** fd of a user namespace whose mappings the mount gets (MOUNT_ATTR_IDMAP), sub-mounts never. */
  readonly idmapUserns?: Fd
}

export interface MountOptions {
  readonly type: string
  readonly source: string
  readonly target: string
  /** Names: ro nosuid nodev noexec noatime relatime. */
  readonly flags?: readonly string[]
  readonly data?: string
}

export type ReadResult = Buffer | { readonly code: string }

/** Files that belong together, as those of one container. */
export interface ReadGroup {
  /** What it is known by while a read of it is on its way. */
  readonly key: string
  readonly paths: readonly string[]
  /** An rtnetlink socket: one text more, with the interfaces of its namespace (reading.h). Used by one call at a time. */
  readonly link?: Fd | undefined
  /** A cgroup.procs: one text more, `processes descriptors sockets`. */
  readonly procs?: string | undefined
}

/** A text, or why there is none: `{ code: 'ENOENT' }`. */
export type GroupText = string | { readonly code: string }

export interface Native {
  readonly abi: number

  // Processes -------------------------------------------------------------------------------------------------
  /**
   * posix_spawn with every signal disposition reset and an empty mask, then pidfd_open. `onExit` is called once
   * when the child has been reaped (by pidfd, so that no other child is touched): exit code, or -1 and a signal
   * number (0 if something else reaped it). The child stays alive if the daemon dies; the event loop stays alive
   * while the child runs. A program that cannot be executed throws here: `syscall` is posix_spawn with the program
   * as the path, chdir with the folder, or dup.
   */
  spawn(options: SpawnOptions, onExit: (code: number, signal: number) => void): number
  /** pidfd_open(pid); close-on-exec. ESRCH if there is none. EINVAL for pid <= 1. */
  pidfdOpen(pid: number): Fd
  /** pidfd_send_signal. Throws ESRCH when the process is gone. */
  pidfdSignal(pidfd: Fd, signal: number): void
  /**
   * Resolves when the process behind the pidfd has ended (polled by epoll; takes no thread). Closes nothing, and
   * the caller may close the pidfd meanwhile. Holds the event loop, so a daemon that leaves processes behind ends by
   * process.exit. Reaps nothing.
   */
  pidfdWait(pidfd: Fd): Promise<void>

  // Descriptors -----------------------------------------------------------------------------------------------
  /** pipe2(O_CLOEXEC): [read end, write end]. */
  pipe(): [Fd, Fd]
  /** socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC). */
  socketpair(): [Fd, Fd]
  close(fd: Fd): void
  /** flock(LOCK_EX | LOCK_NB): true if the lock is ours now, false if another holds it. */
  flock(fd: Fd): boolean
  /** SO_PEERCRED of a connected unix socket. */
  peerCred(fd: Fd): { pid: number; uid: number; gid: number }
  /**
   * sendmsg with SCM_RIGHTS over a unix socket: one data byte string (>= 1 byte) and at most 253 descriptors. EAGAIN
   * if the socket is full and nothing was sent; EPIPE without a signal.
   */
  sendFds(socket: Fd, data: Buffer, fds: readonly Fd[]): void
  /**
   * recvmsg; null when there is nothing (EAGAIN), empty data at the end. Received descriptors are close-on-exec.
   * EMFILE, and none is kept, when not all could be installed.
   */
  recvFds(socket: Fd, maxBytes: number): { data: Buffer; fds: Fd[] } | null
  /** syncfs of the file system that holds `path`. */
  syncfs(path: string): Promise<void>

  // Namespaces ------------------------------------------------------------------------------------------------
  /**
   * Makes the namespaces on a short-lived thread of its own (unshare), pins each by a bind mount of
   * /proc/self/task/<tid>/ns/*, brings loopback up, writes the sysctls, ends the thread; with `user` a short-lived
   * child does so, because a threaded process cannot enter a user namespace. On failure everything
   * that was pinned has been unpinned again and the files are removed. A path that is a pin already is EEXIST and
   * stays as it is; an unpinned left-over file is taken.
   */
  createNamespaces(options: NamespaceOptions): Promise<void>
  /** umount(MNT_DETACH) and unlink; success also if it never was. */
  unpinNamespace(path: string): Promise<void>
  /**
   * A TCP socket (4: IPv4, 6: IPv6), or one of rtnetlink (0), inside the network namespace that `netns` names; not
   * connected, non-blocking, close-on-exec, the caller's to close. No thread of ours stays in there; the namespace
   * lives as long as the socket.
   */
  socketInNetns(netns: string, family: 0 | 4 | 6): Promise<Fd>

  // Mounts ----------------------------------------------------------------------------------------------------
  /** The rejection holds what the kernel logged. Nothing is mounted on failure; the target is never a followed link. */
  mountOverlay(options: OverlayOptions): Promise<void>
  /** Links are followed in the source only. ENOSYS for recursiveReadonly and idmap on kernels without them. */
  bind(options: BindOptions): Promise<void>
  mount(options: MountOptions): Promise<void>
  /** Success also when nothing is mounted there or the path is missing. `detach`: MNT_DETACH. Never follows a link. */
  umount(target: string, detach: boolean): Promise<void>
  setPropagation(target: string, propagation: Propagation): Promise<void>

  // Files -----------------------------------------------------------------------------------------------------
  /** openat2 RESOLVE_IN_ROOT|NO_MAGICLINKS, read up to maxBytes of a regular file (else EISDIR, EINVAL). EFBIG if larger. */
  readInRoot(root: string, path: string, maxBytes: number): Buffer
  /**
   * mkdir -p below root without ever leaving it (RESOLVE_IN_ROOT); what is made has exactly `mode`; existing folders
   * are fine; ENOENT for a dangling link on the way.
   */
  mkdirInRoot(root: string, path: string, mode: number): void
  /** Reads many small files (<= 64 KiB each) in one call: for cgroup and proc files. Never throws per file. */
  readMany(paths: readonly string[]): ReadResult[]
  /**
   * Reads groups of small files (<= 64 KiB each) on a thread of its own; the texts of a group in the order asked, each
   * its own error. When nothing comes for `stallMs` another thread goes on with the next group. When nothing has come
   * for `deadlineMs` the call ends: groups that are missing are ETIMEDOUT, and EBUSY in later calls until the read that
   * hangs returns.
   */
  readGroups(
    groups: readonly ReadGroup[],
    limits: { readonly stallMs: number; readonly deadlineMs: number },
  ): Promise<readonly (readonly GroupText[] | { readonly code: string })[]>
  /** One write() of `text` to an existing file (O_WRONLY, no create, no truncate): cgroup and sysctl files. */
  writeFile(path: string, text: string): void
  /** Asks ext4 to place the folders that are made in this one apart; success also where there is no such hint. */
  spreadFolders(path: string): void
  /** f_type, bytes and inodes of a file system; free bytes are those for ordinary users (f_bavail). */
  statfs(path: string): {
    type: number
    totalBytes: bigint
    freeBytes: bigint
    totalInodes: bigint
    freeInodes: bigint
  }
  /**
   * Removes a tree without following links or crossing mounts; success if it is missing. Stops at the first thing
   * that cannot be removed and names it; EBUSY for a mount below, or if the path itself is one.
   */
  removeTree(path: string): Promise<void>
  /** Allocated bytes (st_blocks * 512) and inodes of a tree, hard links once, not crossing mounts. */
  treeUsage(path: string): Promise<{ bytes: bigint; inodes: bigint }>
  /** Is the folder marked for overlayfs to hide what is below it (trusted.overlay.opaque)? False if it cannot be told. */
  isOpaque(path: Buffer): boolean

  // This process ----------------------------------------------------------------------------------------------
  /** malloc_trim(0) and MADV_DONTNEED on the r-x mappings of the node binary (clean file pages only). */
  trimMemory(): void
  /** One datagram to the unix socket `path` (`@name`: an abstract one), not waited for. EAGAIN if it is full. */
  notify(path: string, text: string): void
  /**
   * Starts a thread that writes one line `event-loop-blocked` to stderr, as JSON or text, when the 32-bit counter at
   * the start of `beat` has not changed for `limitMs`; again only after it has. What stands behind the counter, to a
   * zero, is the line's `last`. Lives as long as the environment.
   */
  watchLoop(beat: Buffer, limitMs: number, json: boolean): void
  /** Is a new-mount-API call / feature there? Probed once by `facts.ts`. */
  probe(): {
    newMountApi: boolean
    lowerdirPlus: boolean
    mountSetattr: boolean
    openat2: boolean
    pidfd: boolean
  }
}

/** Loads the addon that `native/Makefile` built. Throws with the places looked at, or on a wrong ABI number. */
export function loadNative(path: string): Native {
  let native: Native
  try {
    native = createRequire(import.meta.url)(path)
  } catch (e) {
    throw new Fault(
      'unavailable',
      `the addon ${path} cannot be loaded (run the build): ${e instanceof Error ? e.message : e}`,
    )
  }
  if (native.abi !== ABI)
    throw new Fault(
      'unavailable',
      `the addon ${path} has ABI ${native.abi}, this program needs ${ABI}: rebuild it`,
    )
  return native
}
