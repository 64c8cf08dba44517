// SPDX-License-Identifier: Apache-2.0
/*
 * What a tree has, as facts for its record. The walk keeps one directory open and, of each level above it,
 * the place to go on from, so that neither depth nor width costs descriptors or memory.
 */
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

static char type_of(const struct stat *st) {
    switch (st->st_mode & S_IFMT) {
    case S_IFREG:
        return '0';
    case S_IFLNK:
        return '2';
    case S_IFCHR:
        return st->st_rdev ? '3' : 'w';
    case S_IFBLK:
        return '4';
    case S_IFDIR:
        return '5';
    default:
        return '6';
    }
}

int fact_of(int parent, const char *name, struct fact *out) {
    struct stat st;
    bool root = name[0] == 0;
    if (root ? fstat(parent, &st) < 0 : fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0) return -1;
    *out = (struct fact){.type = type_of(&st),
                         .mode = st.st_mode & 07777,
                         .uid = st.st_uid,
                         .gid = st.st_gid,
                         .size = S_ISREG(st.st_mode) || S_ISLNK(st.st_mode) ? (uint64_t)st.st_size : 0,
                         .rdev = st.st_rdev};
    return 0;
}

struct level {
    size_t length; /* of the path above this one */
    long place;
};

struct walker {
    struct record *r;
    struct tree *t;
    DIR *dir;
    size_t length;
    char path[MAX_PATH];
    struct level levels[MAX_PATH / 2];
    size_t depth;
};

static int enter(struct walker *w) {
    if (w->dir) closedir(w->dir);
    int fd = tree_open(w->t, w->path, w->length);
    w->dir = fd < 0 ? NULL : fdopendir(fd);
    if (w->dir) return 0;
    if (fd >= 0) close(fd);
    return fail_errno(STAGE_WRITE, w->path, "list a directory for the record");
}

static int leave(struct walker *w) {
    const struct level *above = &w->levels[--w->depth];
    w->length = above->length;
    w->path[w->length] = 0;
    if (enter(w) < 0) return -1;
    seekdir(w->dir, above->place);
    return 0;
}

/* A directory that hides the layers below. */
static int mark(struct walker *w) {
    char value;
    if (fgetxattr(dirfd(w->dir), "trusted.overlay.opaque", &value, 1) != 1) return 0;
    return record_fact(w->r, 'W', &(struct fact){.type = 'o'}, w->path);
}

/* Those take owner and mode from a lower layer later. */
static bool implied(const struct walker *w, uint64_t inode) {
    for (size_t i = 0; i < w->t->implied_named; i++)
        if (w->t->implied[i].inode == inode) return true;
    return false;
}

/* One name of the current directory; goes down into a sub-directory. */
static int visit(struct walker *w, const struct dirent *d) {
    struct fact f;
    size_t n = strlen(d->d_name), at = w->length;
    if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) return 0;
    if (at + 1 + n >= MAX_PATH) return 0; /* only reached through links: no path tells it */
    if (fact_of(dirfd(w->dir), d->d_name, &f) < 0)
        return fail_errno(STAGE_WRITE, w->path, "look at an entry for the record");
    if (at) w->path[at++] = '/';
    memcpy(w->path + at, d->d_name, n + 1);
    if (!(f.type == '5' && implied(w, d->d_ino)) && record_fact(w->r, 'W', &f, w->path) < 0) return -1;
    if (f.type != '5') {
        w->path[w->length] = 0;
        return 0;
    }
    w->levels[w->depth++] = (struct level){w->length, telldir(w->dir)};
    w->length = at + n;
    return enter(w) < 0 ? -1 : mark(w);
}

int record_tree(struct record *r, struct tree *t) {
    struct walker *w = calloc(1, sizeof *w);
    struct fact root;
    if (!w) return fail_errno(STAGE_WRITE, NULL, "allocate a walk");
    w->r = r;
    w->t = t;
    int result =
        fact_of(t->root, "", &root) < 0 ? fail_errno(STAGE_WRITE, "", "look at the layer") : enter(w);
    if (result == 0) result = mark(w);
    if (result == 0 && r->seen_root) result = record_fact(r, 'W', &root, "");
    while (result == 0) {
        errno = 0;
        const struct dirent *d = readdir(w->dir);
        if (d)
            result = visit(w, d);
        else if (errno)
            result = fail_errno(STAGE_WRITE, w->path, "list a directory for the record");
        else if (w->depth == 0)
            break;
        else
            result = leave(w);
    }
    if (w->dir) closedir(w->dir);
    free(w);
    return result;
}
