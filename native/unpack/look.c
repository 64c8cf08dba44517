// SPDX-License-Identifier: Apache-2.0
/* Looks into a finished tree by the paths of its record. Makes nothing, follows links inside the root only.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void look_start(struct look *l, struct tree *t) { *l = (struct look){.t = t, .fd = -1, .file = -1}; }

int look_parent(struct look *l, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    *name = slash ? slash + 1 : path;
    if (l->fd >= 0 && l->length == n && memcmp(l->path, path, n) == 0) return l->fd;
    if (l->fd >= 0) close(l->fd);
    l->fd = tree_open(l->t, path, n);
    l->length = n;
    memcpy(l->path, path, n);
    return l->fd;
}

void look_next(struct look *l) {
    if (l->file >= 0) close(l->file);
    l->file = -1;
}

void look_end(struct look *l) {
    look_next(l);
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}

int look_file(struct look *l, const struct replay *r) {
    const char *name;
    struct stat st;
    if (l->file >= 0) return l->file;
    int parent = look_parent(l, r->path, &name);
    l->file =
        parent < 0 ? -1 : openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (l->file < 0)
        return fail(errno == EIO ? KIND_INTERNAL : KIND_CORRUPT, STAGE_READ, r->path,
                    "the layer no longer has this file: %s", strerror(errno));
    if (fstat(l->file, &st) < 0) return fail_errno(STAGE_READ, r->path, "look at a file");
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != r->fact.size) {
        look_next(l);
        return S_ISREG(st.st_mode)
                   ? fail(KIND_CORRUPT, STAGE_READ, r->path,
                          "the file has %lld bytes, it was unpacked with %llu", (long long)st.st_size,
                          (unsigned long long)r->fact.size)
                   : fail(KIND_CORRUPT, STAGE_READ, r->path, "what was unpacked as a file is none now");
    }
    return l->file;
}
