// SPDX-License-Identifier: Apache-2.0
/*
 * Makes the directories of a path that are missing, step by step, as `mkdir -p` inside the container would: a
 * symbolic link is followed within the root, also one whose target is not there yet (it may be in a lower
 * layer). `real` is at every moment a path without links, so that ".." of a link's target is exact.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walk {
    struct tree *t;
    const char *whole; /* for messages */
    int fd;            /* the directory `real` */
    size_t length;
    char real[MAX_PATH];
    char rest[2 * MAX_PATH]; /* what is still to be walked */
    int hops;
};

static int step_to(struct walk *w, int fd, size_t length) {
    if (fd < 0) return fail_errno(STAGE_WRITE, w->whole, "open a directory of the path");
    close(w->fd);
    w->fd = fd;
    w->length = length;
    w->real[length] = 0;
    return 0;
}

static int step_up(struct walk *w) {
    const char *slash = memrchr(w->real, '/', w->length);
    size_t length = slash ? (size_t)(slash - w->real) : 0;
    return step_to(w, tree_open(w->t, w->real, length), length);
}

static int step_down(struct walk *w, const char *name) {
    size_t n = strlen(name), at = w->length;
    if (at + 1 + n >= MAX_PATH)
        return fail(KIND_CORRUPT, STAGE_WRITE, w->whole, "the path becomes longer than %u bytes",
                    MAX_PATH - 1);
    int fd = openat(w->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (at) w->real[at++] = '/';
    memcpy(w->real + at, name, n);
    return step_to(w, fd, at + n);
}

static int make(struct walk *w, const char *name, bool opaque) {
    struct tree *t = w->t;
    struct stat before, made;
    if (fstat(w->fd, &before) < 0 || mkdirat(w->fd, name, 0755) < 0)
        return fail_errno(STAGE_WRITE, w->whole, "make a missing directory");
    if (fstatat(w->fd, name, &made, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(STAGE_WRITE, w->whole, "look at a directory");
    /* A set-group-ID parent must not colour what the archive does not mention. */
    if (made.st_gid != 0 && fchownat(w->fd, name, 0, 0, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(STAGE_WRITE, w->whole, "own a missing directory");
    if ((made.st_mode & 07777) != 0755 && fchmodat(w->fd, name, 0755, 0) < 0)
        return fail_errno(STAGE_WRITE, w->whole, "set the mode of a missing directory");
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, before.st_mtim};
    if (futimens(w->fd, times) < 0)
        return fail_errno(STAGE_WRITE, w->whole, "put back the time of a directory");
    t->inodes++;
    t->bytes += (uint64_t)made.st_blocks * 512;
    if (step_down(w, name) < 0 || (opaque && tree_set_opaque(w->fd, w->whole) < 0)) return -1;
    /* Behind an opaque mark nothing of the lower layers counts, so there is nothing to take from them. */
    return opaque ? 0 : implied_add(t, made.st_ino, w->real);
}

/* Puts the target of the link `name` in front of what is still to be walked. */
static int follow(struct walk *w, const char *name) {
    char target[2 * MAX_PATH];
    w->t->linked = true;
    ssize_t n = readlinkat(w->fd, name, target, MAX_PATH);
    if (n < 0) return fail_errno(STAGE_WRITE, w->whole, "read a symbolic link of the path");
    size_t rest = strlen(w->rest);
    if (++w->hops > MAX_LINK_HOPS || (size_t)n + 1 + rest >= sizeof w->rest)
        return fail(KIND_CORRUPT, STAGE_WRITE, w->whole, "the path leads through too many symbolic links");
    memmove(w->rest + n + 1, w->rest, rest + 1);
    memcpy(w->rest, target, (size_t)n);
    w->rest[n] = '/';
    return target[0] == '/' ? step_to(w, tree_open(w->t, "", 0), 0) : 0;
}

static int step(struct walk *w, const char *name) {
    struct stat st;
    if (name[0] == 0 || strcmp(name, ".") == 0) return 0;
    if (strcmp(name, "..") == 0) return step_up(w);
    if (fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? make(w, name, false)
                               : fail_errno(STAGE_WRITE, w->whole, "look at a directory");
    if (S_ISDIR(st.st_mode)) return step_down(w, name);
    if (S_ISLNK(st.st_mode)) return follow(w, name);
    if (S_ISCHR(st.st_mode) &&
        st.st_rdev == 0) { /* a whiteout of this layer: what is below it stays hidden */
        if (unlinkat(w->fd, name, 0) < 0) return fail_errno(STAGE_WRITE, w->whole, "replace a whiteout");
        w->t->inodes--;
        record_replaced(w->t->record, w->whole, false);
        return make(w, name, true);
    }
    return fail(KIND_CORRUPT, STAGE_WRITE, w->whole, "'%s%s%s' on its path is not a directory", w->real,
                w->length ? "/" : "", name);
}

int tree_walk(struct tree *t, const char *path, size_t n) {
    struct walk *w = calloc(1, sizeof *w);
    if (!w) return fail_errno(STAGE_WRITE, path, "allocate a walk");
    w->t = t;
    w->whole = path;
    memcpy(w->rest, path, n);
    w->fd = tree_open(t, "", 0);
    int result = w->fd < 0 ? fail_errno(STAGE_WRITE, path, "open the layer") : 0;
    while (result == 0 && w->rest[0]) {
        char name[MAX_COMPONENT + 1];
        size_t length = strcspn(w->rest, "/");
        if (length > MAX_COMPONENT) {
            result = fail(KIND_CORRUPT, STAGE_WRITE, path,
                          "a symbolic link on the path has an overlong component");
            break;
        }
        memcpy(name, w->rest, length);
        name[length] = 0;
        size_t skip = length + (w->rest[length] == '/');
        memmove(w->rest, w->rest + skip, strlen(w->rest + skip) + 1);
        result = step(w, name);
    }
    int fd = w->fd;
    free(w);
    if (result < 0 && fd >= 0) close(fd);
    return result < 0 ? -1 : fd;
}
