// SPDX-License-Identifier: Apache-2.0
/*
 * Entries become files. Creation is exclusive and follows no link; what is in the way goes first, and the
 * last of several entries with one name wins. Then, in the order the kernel needs: data, owner (which clears
 * set-ID bits and capabilities), mode, extended attributes, time. Nothing is synced: the caller syncs the
 * file system once.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static int write_all(int fd, const uint8_t *data, size_t n, const char *path) {
    while (n > 0) {
        ssize_t done = write(fd, data, n);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) return fail_errno(STAGE_WRITE, path, "write a file");
        data += done;
        n -= (size_t)done;
    }
    return 0;
}

static int copy(int fd, const struct extent *x, struct stream *s, const char *path) {
    uint64_t size = x->length;
    if (record_payload(s->record, x->offset, size) < 0) return -1;
    s->payload = true;
    while (size > 0) {
        const uint8_t *data;
        size_t n;
        int more = stream_piece(s, size, &data, &n);
        if (more <= 0)
            return more < 0 ? -1 : fail(KIND_CORRUPT, STAGE_TAR, path, "the archive ends inside this file");
        if (write_all(fd, data, n, path) < 0) return -1;
        size -= n;
    }
    s->payload = false;
    return 0;
}

static int fill(int fd, const struct entry *e, struct stream *s) {
    if (!e->sparse) return copy(fd, &(struct extent){0, e->size}, s, e->path);
    if (ftruncate(fd, (off_t)e->sparse->size) < 0)
        return fail_errno(STAGE_WRITE, e->path, "set the size of a sparse file");
    for (size_t i = 0; i < e->sparse->count; i++) {
        const struct extent *x = &e->sparse->extents[i];
        if (x->length == 0) continue;
        if (lseek(fd, (off_t)x->offset, SEEK_SET) < 0)
            return fail_errno(STAGE_WRITE, e->path, "seek in a sparse file");
        if (copy(fd, x, s, e->path) < 0) return -1;
    }
    return 0;
}

/* Owner, mode and attributes of what is open as fd. A new root-owned file in a plain directory needs neither
 * call. */
static int finish_fd(struct tree *t, const struct entry *e, int fd, struct parent *p, bool fresh) {
    bool owned = fresh && e->uid == 0 && e->gid == 0 && !p->setgid;
    bool inherits = t->default_acl && fresh;
    if (!owned && fchown(fd, e->uid, e->gid) < 0) return fail_errno(STAGE_WRITE, e->path, "set the owner");
    if (inherits && xattrs_apply(t, NULL, fd, p, NULL) < 0) return -1;
    if ((!owned || inherits || (e->mode & 06000)) && fchmod(fd, e->mode) < 0)
        return fail_errno(STAGE_WRITE, e->path, "set the mode");
    if (e->pax->xattr_count && xattrs_apply(t, e, fd, p, NULL) < 0) return -1;
    struct timespec times[2] = {e->mtime, e->mtime};
    if (futimens(fd, times) < 0) return fail_errno(STAGE_WRITE, e->path, "set the time");
    return 0;
}

/* The same for what cannot be opened (links, devices) or need not be (directories): by name, following
 * nothing. */
static int finish_name(struct tree *t, const struct entry *e, struct parent *p, const char *name,
                       bool fresh) {
    bool link = e->type == '2';
    bool owned = fresh && e->uid == 0 && e->gid == 0 && !p->setgid;
    bool inherits = t->default_acl && !link;
    if (!owned && fchownat(p->fd, name, e->uid, e->gid, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(STAGE_WRITE, e->path, "set the owner");
    if (inherits && xattrs_apply(t, NULL, -1, p, name) < 0) return -1;
    if (!link && (!owned || inherits || (e->mode & 06000)) && fchmodat(p->fd, name, e->mode, 0) < 0)
        return fail_errno(STAGE_WRITE, e->path, "set the mode");
    if (e->pax->xattr_count && xattrs_apply(t, e, -1, p, name) < 0) return -1;
    struct timespec times[2] = {e->mtime, e->mtime};
    if (utimensat(p->fd, name, times, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(STAGE_WRITE, e->path, "set the time");
    return 0;
}

static int apply_file(struct tree *t, struct entry *e, struct stream *s, struct parent *p, const char *name) {
    int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(p->fd, name, flags, e->mode & 01777);
    if (fd < 0 && errno == EEXIST) {
        if (tree_clear(t, p, name, false, e->path) < 0) return -1;
        fd = openat(p->fd, name, flags, e->mode & 01777);
    }
    if (fd < 0) return fail_errno(STAGE_WRITE, e->path, "create a file");
    p->dirty = true;
    struct stat st;
    int result = fill(fd, e, s);
    if (result == 0) result = finish_fd(t, e, fd, p, true);
    if (result == 0 && e->size > 0) {
        if (fstat(fd, &st) == 0)
            t->bytes += (uint64_t)st.st_blocks * 512;
        else
            result = fail_errno(STAGE_WRITE, e->path, "look at a file");
    }
    if (close(fd) < 0 && result == 0) result = fail_errno(STAGE_WRITE, e->path, "close a file");
    t->inodes++;
    return result;
}

static int count_directory(struct tree *t, struct parent *p, const char *name, const char *path) {
    if (t->directory_bytes == UINT64_MAX) {
        struct stat st;
        if (fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            return fail_errno(STAGE_WRITE, path, "look at a directory");
        t->directory_bytes = (uint64_t)st.st_blocks * 512;
    }
    t->bytes += t->directory_bytes;
    t->inodes++;
    return 0;
}

static int apply_directory(struct tree *t, struct entry *e, struct parent *p, const char *name) {
    bool made = mkdirat(p->fd, name, e->mode & 01777) == 0, opaque = false;
    if (!made && errno == EEXIST) {
        int cleared = tree_clear(t, p, name, true, e->path);
        if (cleared < 0) return -1;
        opaque = cleared == CLEARED_WHITEOUT;
        if (cleared != KEPT_DIRECTORY)
            made = mkdirat(p->fd, name, e->mode & 01777) == 0;
        else
            return finish_name(t, e, p, name, false);
    }
    if (!made) return fail_errno(STAGE_WRITE, e->path, "create a directory");
    p->dirty = true;
    if (count_directory(t, p, name, e->path) < 0) return -1;
    if (opaque) {
        int fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int result =
            fd < 0 ? fail_errno(STAGE_WRITE, e->path, "open a directory") : tree_set_opaque(fd, e->path);
        if (fd >= 0) close(fd);
        if (result < 0) return -1;
    }
    return finish_name(t, e, p, name, true);
}

/* Symbolic links, devices and fifos: one call that creates or says EEXIST. */
static int create_node(const struct entry *e, const struct parent *p, const char *name) {
    switch (e->type) {
    case '2':
        return symlinkat(e->link, p->fd, name);
    case '3':
        return mknodat(p->fd, name, S_IFCHR | (e->mode & 01777), makedev(e->major, e->minor));
    case '4':
        return mknodat(p->fd, name, S_IFBLK | (e->mode & 01777), makedev(e->major, e->minor));
    default:
        return mknodat(p->fd, name, S_IFIFO | (e->mode & 01777), 0);
    }
}

static int apply_node(struct tree *t, struct entry *e, struct parent *p, const char *name) {
    int made = create_node(e, p, name);
    if (made < 0 && errno == EEXIST) {
        if (tree_clear(t, p, name, false, e->path) < 0) return -1;
        made = create_node(e, p, name);
    }
    if (made < 0) return fail_errno(STAGE_WRITE, e->path, "create a link, device or fifo");
    p->dirty = true;
    t->inodes++;
    if (e->type == '3' && e->major == 0 && e->minor == 0) t->zero_devices++;
    return finish_name(t, e, p, name, true);
}

static int missing_target(const struct entry *e) {
    if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
        return fail_errno(STAGE_WRITE, e->path, "find a hard link's target");
    return fail(KIND_CORRUPT, STAGE_WRITE, e->path, "a hard link to '%s', which the layer does not have",
                e->link);
}

/* Links parent/name to the target in `from`; the target may be in the same directory or anywhere in the
 * layer. */
static int link_from(struct tree *t, struct entry *e, int from, const char *target, struct parent *p,
                     const char *name) {
    struct stat want, have;
    if (fstatat(from, target, &want, AT_SYMLINK_NOFOLLOW) < 0) return missing_target(e);
    if (S_ISDIR(want.st_mode))
        return fail(KIND_CORRUPT, STAGE_WRITE, e->path, "a hard link to the directory '%s'", e->link);
    if (fstatat(p->fd, name, &have, AT_SYMLINK_NOFOLLOW) == 0) {
        if (have.st_dev == want.st_dev && have.st_ino == want.st_ino) return 0;
        if (tree_clear(t, p, name, false, e->path) < 0) return -1;
    }
    if (linkat(from, target, p->fd, name, 0) < 0)
        return errno == EMLINK ? fail_errno(STAGE_WRITE, e->path, "create a hard link") : missing_target(e);
    p->dirty = true;
    return 0;
}

static int apply_link(struct tree *t, struct entry *e, struct parent *p, const char *name) {
    const char *slash = strrchr(e->link, '/');
    const char *target = slash ? slash + 1 : e->link;
    size_t n = slash ? (size_t)(slash - e->link) : 0;
    if (e->link[0] == 0) return fail(KIND_CORRUPT, STAGE_TAR, e->path, "a hard link without a target");
    if (n == p->length && memcmp(e->link, p->path, n) == 0) return link_from(t, e, p->fd, target, p, name);
    int from = tree_open(t, e->link, n);
    if (from < 0) return missing_target(e);
    int result = link_from(t, e, from, target, p, name);
    close(from);
    return result;
}

/* The entry "./" describes the layer's own directory. */
static int apply_root(struct tree *t, struct entry *e) {
    struct parent none = {.fd = t->root};
    if (e->type != '5')
        return fail(KIND_CORRUPT, STAGE_TAR, "", "an entry without a name that is not a directory");
    return record_entry(t->record, e) < 0 || tree_leave(t) < 0 ? -1 : finish_fd(t, e, t->root, &none, false);
}

int apply_entry(struct tree *t, struct entry *e, struct stream *s) {
    const char *name;
    if (e->path[0] == 0) return apply_root(t, e);
    int whiteout = apply_whiteout(t, e->path);
    if (whiteout != WHITEOUT_NONE) return whiteout < 0 ? -1 : stream_skip(s, e->size);
    if (t->refuse_devices && (e->type == '3' || e->type == '4'))
        return fail(KIND_UNSUPPORTED, STAGE_TAR, e->path,
                    "a device node, and those are not allowed in layers here");
    struct parent *p = tree_parent(t, e->path, &name);
    if (!p || record_entry(t->record, e) < 0) return -1;
    switch (e->type) {
    case '0':
        return apply_file(t, e, s, p, name);
    case '1':
        return apply_link(t, e, p, name);
    case '5':
        return apply_directory(t, e, p, name);
    default:
        return apply_node(t, e, p, name);
    }
}
