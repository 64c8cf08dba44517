// SPDX-License-Identifier: Apache-2.0
/**
 * A walk over a hostile tree: no recursion, a bounded number of open descriptors whatever the depth, no link
 * followed, no mount crossed. Folders above the bound are closed and reopened by `..`, which is checked to be
 * the same folder as before.
 */
#ifndef GANTRY_TREE_H
#define GANTRY_TREE_H

#include "addon.h"

#include <dirent.h>

typedef enum { STEP_NEXT, STEP_ENTER, STEP_FAIL } Step;

typedef struct {
    char *name;
    DIR *dir;
    long at;
    uint64_t dev, ino;
} Level;

typedef struct Walk Walk;
struct Walk {
    Fail *fail;
    /** An entry: STEP_ENTER to go into it (it must be a folder), STEP_NEXT to pass on. */
    Step (*entry)(Walk *walk, int dir, const struct dirent *entry);
    /** A folder was read to its end, seen from its parent: STEP_ENTER to read it again. May be NULL. */
    Step (*leave)(Walk *walk, int parent, const char *name);
    /** Passes over folders that are other mounts; else they are EBUSY. */
    bool tolerant;
    void *context;
    // The walk's own.
    Level *levels;
    size_t depth, room, open_from;
    uint64_t mount;
};

typedef struct {
    uint64_t mount, dev, ino, blocks;
    uint32_t links;
    bool is_folder;
} Identity;

/** statx of an entry without following it ("" is the descriptor itself). */
bool tree_identify(int dir, const char *name, Identity *identity);
/** Walks below `path`, an open folder `fd` that the walk takes over. */
bool tree_walk(Walk *walk, const char *path, int fd);
/** Records errno with the path of an entry of the present folder; always STEP_FAIL. */
Step tree_fail(Walk *walk, const char *call, const char *name);

#endif
