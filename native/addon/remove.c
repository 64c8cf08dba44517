// SPDX-License-Identifier: Apache-2.0
/**
 * Removes a tree. Stops at the first thing that cannot be removed and names it; a mount below (or the root
 * being one) is EBUSY and its content is untouched. Files that appear while it works are removed too, up to a
 * bound.
 */
#include "kernel.h"
#include "tree.h"

#include <stdlib.h>

enum { AGAIN_MAX = 64 };

static Step on_entry(Walk *walk, int dir, const struct dirent *entry) {
    if (entry->d_type == DT_DIR) return STEP_ENTER;
    if (unlinkat(dir, entry->d_name, 0) == 0 || errno == ENOENT) return STEP_NEXT;
    if (errno == EISDIR) return STEP_ENTER; // a file system that does not tell types
    return tree_fail(walk, "unlink", entry->d_name);
}

static Step on_leave(Walk *walk, int parent, const char *name) {
    int *again = walk->context;
    if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT) return STEP_NEXT;
    if ((errno == ENOTEMPTY || errno == EEXIST) && (*again)++ < AGAIN_MAX) return STEP_ENTER;
    return tree_fail(walk, "rmdir", name);
}

/** Refuses the machine's root (whatever way the path says it) and mount points. */
static bool removable(int fd, const char *path, Fail *fail) {
    Identity own, up, root;
    if (!tree_identify(fd, "", &own) || !tree_identify(fd, "..", &up) || !tree_identify(AT_FDCWD, "/", &root))
        return fail_set(fail, "statx", path);
    bool is_root = own.dev == root.dev && own.ino == root.ino;
    return (!is_root && own.mount == up.mount) || fail_code(fail, EBUSY, "rmdir", path);
}

static bool empty_folder(const char *path, int fd, Fail *fail) {
    int again = 0;
    Walk walk = {.fail = fail, .entry = on_entry, .leave = on_leave, .context = &again};
    return tree_walk(&walk, path, fd);
}

static bool remove_tree(const char *path, Fail *fail) {
    for (int i = 0; i < AGAIN_MAX; i++) {
        int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0 && errno == ENOENT) return true;
        if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
            // A file or a link: or a parent that is a file, and then there is no such tree.
            return unlink(path) == 0 || errno == ENOENT || errno == ENOTDIR || fail_set(fail, "unlink", path);
        if (fd < 0) return fail_set(fail, "open", path);
        if (!removable(fd, path, fail)) {
            close(fd);
            return false;
        }
        if (!empty_folder(path, fd, fail)) return false;
        if (rmdir(path) == 0 || errno == ENOENT) return true;
        if (errno != ENOTEMPTY && errno != EEXIST) return fail_set(fail, "rmdir", path);
    }
    return fail_code(fail, ENOTEMPTY, "rmdir", path);
}

typedef struct {
    Job job;
    char *path;
} RemoveJob;

static bool run_remove(Job *job) { return remove_tree(((RemoveJob *)job)->path, &job->fail); }

MEMBER(gt_remove_tree) {
    Args args;
    RemoveJob *job = job_new(&args, env, info, "removeTree", sizeof *job);
    if (!job) return NULL;
    job->path = args_path(&args, args.v[0], "path");
    return job_queue(&args, job, run_remove);
}
