// SPDX-License-Identifier: Apache-2.0
/**
 * The walk that tree.h promises: depth first, by descriptors, with a bounded number of them open at a time.
 * Decides nothing about what it finds; the visitor does.
 */
#include "tree.h"
#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum { OPEN_MAX_LEVELS = 32, FOLDER = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK };

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000U
#endif

bool tree_identify(int dir, const char *name, Identity *identity) {
    struct statx sx;
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH);
    if (statx(dir, name, flags, STATX_BASIC_STATS | STATX_MNT_ID, &sx) < 0) return false;
    identity->dev = makedev(sx.stx_dev_major, sx.stx_dev_minor);
    identity->ino = sx.stx_ino;
    identity->blocks = sx.stx_blocks;
    identity->links = sx.stx_nlink;
    identity->is_folder = S_ISDIR(sx.stx_mode);
    // Before 5.8 there is no mount id: the device stands in (a bind mount of the same file system goes
    // unseen).
    identity->mount = sx.stx_mask & STATX_MNT_ID ? sx.stx_mnt_id : identity->dev;
    return true;
}

Step tree_fail(Walk *walk, const char *call, const char *name) {
    char path[PATH_MAX];
    int err = errno;
    size_t used = 0;
    for (size_t i = 0; i < walk->depth && used < sizeof path; i++)
        used += (size_t)snprintf(path + used, sizeof path - used, "%s%s", i ? "/" : "", walk->levels[i].name);
    if (name && used < sizeof path) snprintf(path + used, sizeof path - used, "/%s", name);
    fail_code(walk->fail, err, call, path);
    return STEP_FAIL;
}

static bool push(Walk *walk, const char *name, int fd, const Identity *identity) {
    if (walk->depth == walk->room) {
        size_t room = walk->room ? walk->room * 2 : 64;
        Level *levels = realloc(walk->levels, room * sizeof *levels);
        if (!levels) return false;
        walk->levels = levels;
        walk->room = room;
    }
    Level level = {.name = strdup(name), .dev = identity->dev, .ino = identity->ino};
    if (level.name) level.dir = fdopendir(fd);
    if (!level.dir) {
        free(level.name);
        return false;
    }
    walk->levels[walk->depth++] = level;
    if (walk->depth - walk->open_from <= OPEN_MAX_LEVELS) return true;
    Level *far = &walk->levels[walk->open_from++];
    far->at = telldir(far->dir);
    closedir(far->dir);
    far->dir = NULL;
    return true;
}

static Step enter(Walk *walk, int dir, const char *name) {
    Identity identity;
    int fd = openat(dir, name, FOLDER);
    if (fd < 0) return errno == ENOENT ? STEP_NEXT : tree_fail(walk, "openat", name);
    if (!tree_identify(fd, "", &identity)) {
        tree_fail(walk, "statx", name);
    } else if (identity.mount != walk->mount) {
        errno = EBUSY;
        if (!walk->tolerant) tree_fail(walk, "openat", name);
    } else if (push(walk, name, fd, &identity)) {
        return STEP_ENTER;
    } else {
        tree_fail(walk, "opendir", name);
    }
    close(fd);
    return walk->fail->err ? STEP_FAIL : STEP_NEXT;
}

/** Makes the parent readable again after its descriptor was given up. */
static bool reopen_parent(Walk *walk, Level *parent, Level *child) {
    Identity identity;
    int fd = openat(dirfd(child->dir), "..", FOLDER);
    if (fd < 0) return false;
    bool same =
        tree_identify(fd, "", &identity) && identity.dev == parent->dev && identity.ino == parent->ino;
    if (!same) errno = ESTALE; // moved away under the walk: `..` leads somewhere else now
    if (same) parent->dir = fdopendir(fd);
    if (!parent->dir) {
        int err = errno;
        close(fd);
        errno = err;
        return false;
    }
    seekdir(parent->dir, parent->at);
    walk->open_from--;
    return true;
}

static Step leave(Walk *walk) {
    Level *child = &walk->levels[walk->depth - 1];
    if (walk->depth > 1) {
        Level *parent = child - 1;
        if (!parent->dir && !reopen_parent(walk, parent, child)) return tree_fail(walk, "openat", "..");
    }
    closedir(child->dir);
    walk->depth--;
    Step step = STEP_NEXT;
    if (walk->depth > 0) {
        int dir = dirfd(walk->levels[walk->depth - 1].dir);
        if (walk->leave) step = walk->leave(walk, dir, child->name);
        // push() may move the levels: the name is out of them by now.
        char *name = child->name;
        if (step == STEP_ENTER) step = enter(walk, dir, name);
        free(name);
    } else {
        free(child->name);
    }
    return step;
}

static Step step(Walk *walk) {
    DIR *dir = walk->levels[walk->depth - 1].dir;
    errno = 0;
    const struct dirent *entry = readdir(dir);
    if (!entry) return errno && errno != ENOENT ? tree_fail(walk, "readdir", NULL) : leave(walk);
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) return STEP_NEXT;
    Step next = walk->entry(walk, dirfd(dir), entry);
    return next == STEP_ENTER ? enter(walk, dirfd(dir), entry->d_name) : next;
}

bool tree_walk(Walk *walk, const char *path, int fd) {
    Identity identity;
    bool started = tree_identify(fd, "", &identity);
    if (started) {
        walk->mount = identity.mount;
        started = push(walk, path, fd, &identity);
    }
    if (!started) {
        fail_set(walk->fail, "opendir", path);
        close(fd);
    }
    while (walk->depth > 0 && step(walk) != STEP_FAIL) continue;
    for (; walk->depth > 0; walk->depth--) {
        Level *level = &walk->levels[walk->depth - 1];
        if (level->dir) closedir(level->dir);
        free(level->name);
    }
    free(walk->levels);
    return walk->fail->err == 0;
}
