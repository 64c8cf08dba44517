// SPDX-License-Identifier: Apache-2.0
/*
 * Takes from this process all it does not need before the first byte of the blob is looked at: namespaces of
 * its own, the layer's directory as the whole file system, no new privileges, few capabilities, tight limits,
 * and a system call filter. A step that the kernel or the environment refuses becomes a warning, except that
 * there must be one of openat2 and a changed root: without either, nothing would hold a hostile link.
 */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/openat2.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define READER_CAPS (1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_SYS_ADMIN)
#define WRITER_CAPS                                                                                          \
    (1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_FOWNER | 1ull << CAP_FSETID |                \
     1ull << CAP_MKNOD | 1ull << CAP_SETFCAP |                                                               \
     1ull << CAP_SYS_ADMIN) /* the last for trusted.* attributes */

static void optional(int result, const char *what) {
    if (result < 0) warn_once("sandbox: %s: %s", what, strerror(errno));
}

static void limit(int resource, rlim_t value, const char *what) {
    optional(setrlimit(resource, &(struct rlimit){value, value}), what);
}

static void limits(const struct options *o) {
    limit(RLIMIT_CORE, 0, "limit core files");
    if (o->mode == MODE_UNPACK) limit(RLIMIT_FSIZE, (rlim_t)o->max_bytes, "limit file size");
    limit(RLIMIT_NOFILE, 32, "limit open files");
#ifndef UNPACK_SANITIZED
    limit(RLIMIT_AS, 512u << 20, "limit memory"); /* libraries, two stacks, and a zstd window of 128 MiB */
#endif
}

static int drop_capabilities(uint64_t kept) {
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    if (syscall(SYS_capget, &head, data) < 0) return -1;
    for (int cap = 0; cap < 64; cap++)
        if (!(kept >> cap & 1) && prctl(PR_CAPBSET_READ, cap, 0, 0, 0) == 1)
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    for (int i = 0; i < 2; i++) {
        data[i].permitted &= (uint32_t)(kept >> (32 * i));
        data[i].effective = data[i].permitted;
        data[i].inheritable = 0;
    }
    return (int)syscall(SYS_capset, &head, data);
}

/* The layer becomes the root of the mount namespace: everything else of the host is unmounted from here. What
 * it holds can be neither run nor opened as a device, and who only reads it cannot write. */
static int pivot(const char *into, enum mode mode) {
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC;
    if (mount(into, into, NULL, MS_BIND, NULL) < 0 || chdir(into) < 0) return -1;
    if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0) return -1;
    if (mode != MODE_UNPACK) flags |= MS_RDONLY;
    optional(mount(NULL, "/", NULL, flags, NULL), "mount options of the layer");
    return chdir("/");
}

static bool has_openat2(void) {
    struct open_how how = {.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
    int fd = (int)syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof how);
    if (fd >= 0) close(fd);
    return fd >= 0;
}

static int open_root(struct tree *t, const struct options *o) {
    struct stat st, now;
    int fd = open(o->into, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) return fail_errno(STAGE_WRITE, NULL, "open the directory of the layer");
    bool own_mounts = unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    optional(own_mounts ? 0 : -1, "own mount namespace");
    optional(unshare(CLONE_NEWNET), "own network namespace");
    optional(unshare(CLONE_NEWIPC), "own ipc namespace");
    if (own_mounts && pivot(o->into, o->mode) == 0) {
        t->confined = true;
    } else {
        optional(own_mounts ? -1 : 0, "pivot_root");
        t->confined = fchdir(fd) == 0 && chroot(".") == 0;
        optional(t->confined ? 0 : -1, "chroot");
    }
    if (t->confined) {
        close(fd);
        fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &now) < 0 || now.st_dev != st.st_dev || now.st_ino != st.st_ino)
            return fail(KIND_INTERNAL, STAGE_WRITE, NULL, "the directory of the layer changed under way");
    }
    t->openat2 = has_openat2();
    if (!t->openat2 && !t->confined)
        return fail(
            KIND_UNSUPPORTED, STAGE_WRITE, NULL,
            "neither openat2 (Linux 5.6) nor chroot is allowed here: nothing would hold a hostile layer");
    t->root = fd;
    return 0;
}

int sandbox_enter(struct tree *t, const struct options *o) {
    if (open_root(t, o) < 0) return -1;
    limits(o);
    optional(drop_capabilities(o->mode == MODE_UNPACK ? WRITER_CAPS : READER_CAPS), "drop capabilities");
    optional(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges");
#ifdef UNPACK_SANITIZED
    warn_once("sandbox: no system call filter in the sanitized build");
#else
    optional(seccomp_enter(), "system call filter");
#endif
    return 0;
}
