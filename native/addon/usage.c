// SPDX-License-Identifier: Apache-2.0
/**
 * What a tree takes on its file system: allocated bytes and inodes, hard links once. The tree may change
 * while it is counted: what vanishes is passed over. Other mounts below are not counted.
 */
#include "kernel.h"
#include "tree.h"

#include <stdlib.h>

/** Open addressing over (dev, ino); 0 as inode marks a free slot. */
typedef struct {
    uint64_t dev, ino;
} Key;

typedef struct {
    Key *slots;
    size_t room, used;
} Set;

typedef struct {
    Job job;
    char *path;
    uint64_t bytes, inodes;
    Set seen;
} UsageJob;

static size_t slot_of(const Set *set, Key key) {
    uint64_t hash = (key.ino ^ (key.dev << 32)) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(hash >> 32) & (set->room - 1);
    while (set->slots[i].ino && (set->slots[i].ino != key.ino || set->slots[i].dev != key.dev))
        i = (i + 1) & (set->room - 1);
    return i;
}

static bool grow(Set *set) {
    Set bigger = {.room = set->room ? set->room * 2 : 256, .used = set->used};
    bigger.slots = calloc(bigger.room, sizeof *bigger.slots);
    if (!bigger.slots) return false;
    for (size_t i = 0; i < set->room; i++)
        if (set->slots[i].ino) bigger.slots[slot_of(&bigger, set->slots[i])] = set->slots[i];
    free(set->slots);
    *set = bigger;
    return true;
}

/** 1 when new, 0 when seen before, -1 out of memory. */
static int add(Set *set, Key key) {
    if (set->used * 2 >= set->room && !grow(set)) return -1;
    size_t i = slot_of(set, key);
    if (set->slots[i].ino) return 0;
    set->slots[i] = key;
    set->used++;
    return 1;
}

static bool count(UsageJob *u, const Identity *identity) {
    if (!identity->is_folder && identity->links > 1) {
        int added = add(&u->seen, (Key){identity->dev, identity->ino});
        if (added <= 0) return added == 0;
    }
    u->bytes += identity->blocks * 512;
    u->inodes++;
    return true;
}

static Step on_entry(Walk *walk, int dir, const struct dirent *entry) {
    Identity identity;
    if (!tree_identify(dir, entry->d_name, &identity))
        return errno == ENOENT ? STEP_NEXT : tree_fail(walk, "statx", entry->d_name);
    if (identity.mount != walk->mount) return STEP_NEXT;
    errno = ENOMEM;
    if (!count(walk->context, &identity)) return tree_fail(walk, "malloc", entry->d_name);
    return identity.is_folder ? STEP_ENTER : STEP_NEXT;
}

static bool run_usage(Job *job) {
    UsageJob *u = (UsageJob *)job;
    Identity identity;
    if (!tree_identify(AT_FDCWD, u->path, &identity)) return fail_set(&job->fail, "statx", u->path);
    count(u, &identity);
    if (!identity.is_folder) return true;
    int fd = open(u->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return fail_set(&job->fail, "open", u->path);
    Walk walk = {.fail = &job->fail, .entry = on_entry, .tolerant = true, .context = u};
    return tree_walk(&walk, u->path, fd);
}

static napi_value usage_result(napi_env env, Job *job) {
    UsageJob *u = (UsageJob *)job;
    napi_value object = NULL, value;
    if (napi_create_object(env, &object) != napi_ok) return NULL;
    if (napi_create_bigint_uint64(env, u->bytes, &value) == napi_ok)
        napi_set_named_property(env, object, "bytes", value);
    if (napi_create_bigint_uint64(env, u->inodes, &value) == napi_ok)
        napi_set_named_property(env, object, "inodes", value);
    return object;
}

static bool run_and_free(Job *job) {
    bool done = run_usage(job);
    free(((UsageJob *)job)->seen.slots);
    return done;
}

MEMBER(gt_tree_usage) {
    Args args;
    UsageJob *job = job_new(&args, env, info, "treeUsage", sizeof *job);
    if (!job) return NULL;
    job->path = args_path(&args, args.v[0], "path");
    job->job.result = usage_result;
    return job_queue(&args, job, run_and_free);
}
