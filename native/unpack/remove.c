// SPDX-License-Identifier: Apache-2.0
/*
 * Takes an earlier entry of the same layer out of the way. Trees are removed with one open directory and a
 * stack of names, so that neither depth nor width costs descriptors. What was counted is counted off again.
 */
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct removal {
    struct tree *t;
    const char *path; /* for messages */
    int fd;
    char *names; /* NUL-separated, from the top down */
    size_t used;
};

static void count_off(struct tree *t, const struct stat *st, const char *path) {
    /* Content is lost with its file, or with a link that its path may have led through. */
    record_replaced(t->record, path,
                    S_ISREG(st->st_mode) ? st->st_size > 0 : S_ISLNK(st->st_mode) && t->linked);
    if (S_ISDIR(st->st_mode)) implied_forget(t, st->st_ino);
    if (!S_ISDIR(st->st_mode) && st->st_nlink > 1) return;
    uint64_t bytes = (uint64_t)st->st_blocks * 512;
    t->inodes -= t->inodes > 0;
    t->bytes -= t->bytes < bytes ? t->bytes : bytes;
}

static int go_down(struct removal *r, const char *name) {
    size_t n = strlen(name) + 1;
    if (r->used + n > MAX_REMOVE_STACK)
        return fail(KIND_UNSUPPORTED, STAGE_WRITE, r->path, "a tree too deep to be replaced");
    int fd = openat(r->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail_errno(STAGE_WRITE, r->path, "open a directory to be replaced");
    memcpy(r->names + r->used, name, n);
    r->used += n;
    close(r->fd);
    r->fd = fd;
    return 0;
}

/* Leaves the emptied directory and removes it. Nobody else works in this tree, so ".." is where we came from.
 */
static int go_up(struct removal *r) {
    int fd = openat(r->fd, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(STAGE_WRITE, r->path, "leave a directory to be replaced");
    close(r->fd);
    r->fd = fd;
    size_t start = r->used - 1;
    while (start > 0 && r->names[start - 1]) start--;
    struct stat st;
    if (fstatat(fd, r->names + start, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        unlinkat(fd, r->names + start, AT_REMOVEDIR) < 0)
        return fail_errno(STAGE_WRITE, r->path, "remove a directory to be replaced");
    count_off(r->t, &st, r->path);
    r->used = start;
    return 0;
}

/* Removes the files of the current directory; 1: went down into a sub-directory, 0: it is empty now. */
static int sweep(struct removal *r) {
    int copy = openat(r->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = copy < 0 ? NULL : fdopendir(copy);
    if (!dir) {
        if (copy >= 0) close(copy);
        return fail_errno(STAGE_WRITE, r->path, "list a directory to be replaced");
    }
    int result = 0;
    for (struct dirent *d; result == 0 && (d = readdir(dir));) {
        struct stat st;
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) continue;
        if (fstatat(r->fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            result = fail_errno(STAGE_WRITE, r->path, "look at an entry to be replaced");
        else if (S_ISDIR(st.st_mode))
            result = go_down(r, d->d_name) < 0 ? -1 : 1;
        else if (unlinkat(r->fd, d->d_name, 0) < 0)
            result = fail_errno(STAGE_WRITE, r->path, "remove an entry to be replaced");
        else
            count_off(r->t, &st, r->path);
    }
    closedir(dir);
    return result;
}

static int remove_tree(struct tree *t, int parent, const char *name, const char *path) {
    struct removal r = {.t = t, .path = path, .names = malloc(MAX_REMOVE_STACK)};
    if (!r.names) return fail_errno(STAGE_WRITE, path, "allocate a removal");
    r.fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = r.fd < 0 ? fail_errno(STAGE_WRITE, path, "open a directory") : go_down(&r, name);
    while (result >= 0 && r.used > 0) {
        result = sweep(&r);
        if (result == 0) result = go_up(&r);
    }
    if (r.fd >= 0) close(r.fd);
    free(r.names);
    return result < 0 ? -1 : 0;
}

int tree_clear(struct tree *t, struct parent *p, const char *name, bool keep_directory, const char *path) {
    struct stat st;
    if (fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? CLEARED_NOTHING : fail_errno(STAGE_WRITE, path, "look at an earlier entry");
    p->dirty = true;
    if (S_ISDIR(st.st_mode)) {
        if (keep_directory) {
            if (!implied_forget(t, st.st_ino)) record_replaced(t->record, path, false);
            return KEPT_DIRECTORY;
        }
        return remove_tree(t, p->fd, name, path) < 0 ? -1 : CLEARED_ENTRY;
    }
    if (unlinkat(p->fd, name, 0) < 0) return fail_errno(STAGE_WRITE, path, "remove an earlier entry");
    count_off(t, &st, path);
    return S_ISCHR(st.st_mode) && st.st_rdev == 0 ? CLEARED_WHITEOUT : CLEARED_ENTRY;
}
