// SPDX-License-Identifier: Apache-2.0
/**
 * System calls and constants newer than some of the headers this has to build against, under names of our own
 * (glibc's <sys/mount.h> and <linux/mount.h> cannot be included together). Numbers are the same on all
 * architectures that have them since Linux 5.1.
 */
#ifndef GANTRY_KERNEL_H
#define GANTRY_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    NR_PIDFD_SEND_SIGNAL = 424,
    NR_OPEN_TREE = 428,
    NR_MOVE_MOUNT = 429,
    NR_FSOPEN = 430,
    NR_FSCONFIG = 431,
    NR_FSMOUNT = 432,
    NR_PIDFD_OPEN = 434,
    NR_OPENAT2 = 437,
    NR_MOUNT_SETATTR = 442,
};

enum {
    K_OPEN_TREE_CLONE = 1,
    K_AT_RECURSIVE = 0x8000,
    K_MOVE_F_EMPTY_PATH = 4,
    K_FSOPEN_CLOEXEC = 1,
    K_FSMOUNT_CLOEXEC = 1,
    K_FSCONFIG_FLAG = 0,
    K_FSCONFIG_STRING = 1,
    K_FSCONFIG_CREATE = 6,
};

enum {
    K_ATTR_RDONLY = 0x1,
    K_ATTR_NOSUID = 0x2,
    K_ATTR_NODEV = 0x4,
    K_ATTR_NOEXEC = 0x8,
    K_ATTR_IDMAP = 0x100000,
};

enum {
    K_RESOLVE_NO_MAGICLINKS = 0x02,
    K_RESOLVE_IN_ROOT = 0x10,
};

enum { K_PIDFD_IDTYPE = 3 }; // P_PIDFD of waitid

struct k_mount_attr {
    uint64_t attr_set, attr_clr, propagation, userns_fd;
};

struct k_open_how {
    uint64_t flags, mode, resolve;
};

static inline int k_pidfd_open(int pid) { return (int)syscall(NR_PIDFD_OPEN, pid, 0); }
static inline int k_pidfd_send_signal(int fd, int sig) {
    return (int)syscall(NR_PIDFD_SEND_SIGNAL, fd, sig, NULL, 0);
}
static inline int k_open_tree(int dir, const char *path, unsigned flags) {
    return (int)syscall(NR_OPEN_TREE, dir, path, flags);
}
static inline int k_move_mount(int from, const char *target) {
    return (int)syscall(NR_MOVE_MOUNT, from, "", AT_FDCWD, target, K_MOVE_F_EMPTY_PATH);
}
static inline int k_fsopen(const char *type) { return (int)syscall(NR_FSOPEN, type, K_FSOPEN_CLOEXEC); }
static inline int k_fsconfig(int fs, unsigned cmd, const char *key, const void *value) {
    return (int)syscall(NR_FSCONFIG, fs, cmd, key, value, 0);
}
static inline int k_fsmount(int fs, unsigned attrs) {
    return (int)syscall(NR_FSMOUNT, fs, K_FSMOUNT_CLOEXEC, attrs);
}
static inline int k_mount_setattr(int fd, unsigned flags, struct k_mount_attr *attr) {
    return (int)syscall(NR_MOUNT_SETATTR, fd, "", AT_EMPTY_PATH | flags, attr, sizeof *attr);
}
static inline int k_openat2(int dir, const char *path, struct k_open_how *how) {
    return (int)syscall(NR_OPENAT2, dir, path, how, sizeof *how);
}

/** `int fd CLOSES = open(...)`: closed at the end of the scope unless it is negative. Keeps errno. */
static inline void k_close_fd(const int *fd) {
    int saved = errno;
    if (*fd >= 0) close(*fd);
    errno = saved;
}
#define CLOSES __attribute__((cleanup(k_close_fd)))

#endif
