// SPDX-License-Identifier: Apache-2.0
/*
 * Directories of the layer. Every look-up starts at the root descriptor with RESOLVE_IN_ROOT, and the process
 * root is the layer too, so a symbolic link resolves as it would in the container and nothing leads outside.
 * The directory in use is kept open; its modification time is put back when it is left, so no list of times
 * to set at the end is needed and memory does not grow with the archive.
 */
#include "unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

int tree_open(struct tree *t, const char *path, size_t n) {
    char at[MAX_PATH + 2];
    int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    if (n == 0) {
        at[0] = '.';
        at[1] = 0;
    } else {
        memcpy(at, path, n);
        at[n] = 0;
    }
    if (t->openat2) {
        struct open_how how = {.flags = (uint64_t)flags,
                               .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS};
        int fd = (int)syscall(SYS_openat2, t->root, at, &how, sizeof how);
        if (fd < 0 && errno == ELOOP) { /* it has a link, which is to be known */
            t->linked = true;
            how.resolve &= ~(uint64_t)RESOLVE_NO_SYMLINKS;
            fd = (int)syscall(SYS_openat2, t->root, at, &how, sizeof how);
        }
        if (fd >= 0 || errno != ENOSYS) return fd;
        t->openat2 = false;
    }
    if (!t->confined) { /* sandbox_enter refuses to go on with neither */
        errno = ENOSYS;
        return -1;
    }
    t->linked = true;
    return openat(t->root, at, flags);
}

int tree_leave(struct tree *t) {
    struct parent *p = &t->parent;
    if (p->fd < 0) return 0;
    int result = 0;
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, p->mtime};
    if (p->dirty && futimens(p->fd, times) < 0)
        result = fail_errno(STAGE_WRITE, p->path, "put back the time of a directory");
    close(p->fd);
    p->fd = -1;
    return result;
}

static int enter(struct tree *t, int fd, const char *path, size_t n) {
    struct parent *p = &t->parent;
    struct stat st;
    if (fstat(fd, &st) < 0) {
        close(fd);
        return fail_errno(STAGE_WRITE, path, "look at a directory");
    }
    p->fd = fd;
    p->dirty = false;
    p->setgid = (st.st_mode & S_ISGID) != 0;
    p->mtime = st.st_mtim;
    p->length = n;
    memcpy(p->path, path, n);
    p->path[n] = 0;
    return 0;
}

struct parent *tree_parent(struct tree *t, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    struct parent *p = &t->parent;
    *name = slash ? slash + 1 : path;
    if (p->fd >= 0 && p->length == n && memcmp(p->path, path, n) == 0) return p;
    if (tree_leave(t) < 0) return NULL;
    int fd = tree_open(t, path, n);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        fd = tree_walk(t, path, n);
    else if (fd < 0)
        fail_errno(STAGE_WRITE, path, "open the directory of an entry");
    if (fd < 0 || enter(t, fd, path, n) < 0) return NULL;
    return p;
}
