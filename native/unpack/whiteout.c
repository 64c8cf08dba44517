// SPDX-License-Identifier: Apache-2.0
/*
 * OCI whiteouts in the form that overlayfs reads. A whiteout hides the lower layers only, whatever the order
 * of the entries: where the same layer also has the name, that stays, and a directory of that name becomes
 * opaque. Also the extended attributes, because overlayfs gives some of them a meaning that no layer may
 * forge.
 */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#define PREFIX ".wh."
#define META   ".wh..wh."
#define OPAQUE ".wh..wh..opq"

int tree_set_opaque(int fd, const char *path) {
    if (fsetxattr(fd, "trusted.overlay.opaque", "y", 1, 0) < 0)
        return fail_errno(STAGE_WRITE, path, "mark a directory opaque");
    return 0;
}

/* Notes what a whiteout became: of `name` beside the marker, of the directory itself for "". */
static int record_hidden(struct tree *t, char type, const char *marker, const char *name) {
    char path[MAX_PATH];
    const char *slash = strrchr(marker, '/');
    size_t n = slash ? (size_t)(slash - marker) : 0;
    snprintf(path, sizeof path, "%.*s%s%s", (int)n, marker, n && name[0] ? "/" : "", name);
    return record_fact(t->record, 'E', &(struct fact){.type = type}, path);
}

static int set_opaque_at(struct parent *p, const char *name, const char *path) {
    int fd = openat(p->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail_errno(STAGE_WRITE, path, "open a directory");
    int result = tree_set_opaque(fd, path);
    close(fd);
    return result;
}

static int hide(struct tree *t, struct parent *p, const char *name, const char *path) {
    struct stat st;
    if (name[0] == 0 || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return fail(KIND_CORRUPT, STAGE_TAR, path, "a whiteout of nothing or of a dot name");
    if (mknodat(p->fd, name, S_IFCHR, makedev(0, 0)) == 0) {
        p->dirty = true;
        t->inodes++;
        return record_hidden(t, 'w', path, name) < 0 ? -1 : WHITEOUT_DONE;
    }
    if (errno != EEXIST) return fail_errno(STAGE_WRITE, path, "create a whiteout");
    if (fstatat(p->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return fail_errno(STAGE_WRITE, path, "look at the name of a whiteout");
    if (S_ISDIR(st.st_mode) && (set_opaque_at(p, name, path) < 0 || record_hidden(t, 'o', path, name) < 0))
        return -1;
    return WHITEOUT_DONE;
}

int apply_whiteout(struct tree *t, const char *path) {
    const char *name;
    for (const char *at = path; at; at = strchr(at, '/')) {
        at += *at == '/';
        bool last = strchr(at, '/') == NULL;
        if (strncmp(at, PREFIX, strlen(PREFIX)) != 0) continue;
        if (strncmp(at, META, strlen(META)) == 0 && !(last && strcmp(at, OPAQUE) == 0))
            return WHITEOUT_DONE; /* aufs book-keeping, and all below it */
        if (!last) return fail(KIND_CORRUPT, STAGE_TAR, path, "an entry below a whiteout");
        struct parent *p = tree_parent(t, path, &name);
        if (!p) return -1;
        if (strcmp(at, OPAQUE) == 0)
            return tree_set_opaque(p->fd, path) < 0 || record_hidden(t, 'o', path, "") < 0 ? -1
                                                                                           : WHITEOUT_DONE;
        return hide(t, p, name + strlen(PREFIX), path);
    }
    return WHITEOUT_NONE;
}

static bool forged(const char *name) {
    return strncmp(name, "trusted.overlay.", 16) == 0 || strncmp(name, "user.overlay.", 13) == 0;
}

/* Takes away what a parent's default ACL gave: the archive says what a file has. */
static int drop_inherited(int fd, const char *name) {
    static const char *const acls[] = {"system.posix_acl_access", "system.posix_acl_default"};
    for (int i = 0; i < 2; i++) {
        int done = fd >= 0 ? fremovexattr(fd, acls[i]) : lremovexattr(name, acls[i]);
        if (done < 0 && errno != ENODATA && errno != EOPNOTSUPP)
            return fail_errno(STAGE_WRITE, name, "remove an inherited access list");
    }
    return 0;
}

static int set_one(struct tree *t, const struct entry *e, const struct xattr *x, int fd, const char *name) {
    char key[MAX_COMPONENT + 1];
    memcpy(key, x->name.at, x->name.n);
    key[x->name.n] = 0;
    if (forged(key)) {
        t->xattrs_skipped++;
        return 0;
    }
    int done = fd >= 0 ? fsetxattr(fd, key, x->value.at, x->value.n, 0)
                       : lsetxattr(name, key, x->value.at, x->value.n, 0);
    if (done == 0) {
        /* It may move the group's bits of the mode: then only the finished tree tells it. */
        if (strcmp(key, "system.posix_acl_access") == 0) record_replaced(t->record, e->path, false);
        t->default_acl |= strcmp(key, "system.posix_acl_default") == 0;
        return 0;
    }
    if (errno == EOPNOTSUPP || (errno == EPERM && strncmp(key, "user.", 5) == 0)) {
        warn_once("the file system does not take the extended attribute %s", key);
        t->xattrs_skipped++;
        return 0;
    }
    if (errno == ENOSPC || errno == E2BIG || errno == ERANGE)
        return fail(KIND_UNSUPPORTED, STAGE_WRITE, e->path,
                    "the extended attribute %s (%zu bytes) does not fit into this file system", key,
                    x->value.n);
    return fail(KIND_INTERNAL, STAGE_WRITE, e->path, "set the extended attribute %s: %s", key,
                strerror(errno));
}

/* With `e` NULL: only removes inherited access lists. By name it works from the parent as working directory,
 * which belongs to this thread's use alone: there is no *at form, and no /proc in here. */
int xattrs_apply(struct tree *t, const struct entry *e, int fd, struct parent *p, const char *name) {
    if (fd < 0 && fchdir(p->fd) < 0) return fail_errno(STAGE_WRITE, name, "enter a directory");
    if (!e) return drop_inherited(fd, name);
    for (unsigned i = 0; i < e->pax->xattr_count; i++)
        if (set_one(t, e, &e->pax->xattrs[i], fd, name) < 0) return -1;
    return 0;
}
