// SPDX-License-Identifier: Apache-2.0
/**
 * Bind mounts by the new mount API: attributes are set on the detached copy, so no moment exists in which the
 * mount is visible without them. Kernels without open_tree or mount_setattr get mount(2) with a remount.
 */
#include "kernel.h"
#include "mount.h"

#include <sys/mount.h>
#include <sys/statvfs.h>

typedef struct {
    Job job;
    char *source, *target;
    bool recursive, readonly, recursive_readonly, nosuid, nodev, noexec;
    unsigned long propagation;
    int userns;
} BindJob;

static uint64_t bind_attributes(const BindJob *b) {
    return (b->readonly || b->recursive_readonly ? K_ATTR_RDONLY : 0) | (b->nosuid ? K_ATTR_NOSUID : 0) |
           (b->nodev ? K_ATTR_NODEV : 0) | (b->noexec ? K_ATTR_NOEXEC : 0);
}

static bool set_attr(int fd, unsigned flags, struct k_mount_attr attr, BindJob *b) {
    return k_mount_setattr(fd, flags, &attr) == 0 || fail_set(&b->job.fail, "mount_setattr", b->target);
}

static bool set_attributes(BindJob *b, int tree) {
    uint64_t attributes = bind_attributes(b);
    if (attributes && !set_attr(tree, 0, (struct k_mount_attr){.attr_set = attributes}, b)) return false;
    if (b->recursive_readonly &&
        !set_attr(tree, K_AT_RECURSIVE, (struct k_mount_attr){.attr_set = K_ATTR_RDONLY}, b))
        return false;
    struct k_mount_attr idmap = {.attr_set = K_ATTR_IDMAP, .userns_fd = (uint64_t)b->userns};
    return b->userns < 0 || set_attr(tree, 0, idmap, b);
}

/** By way of mount(2). What only mount_setattr can do is refused. */
static bool bind_classic(BindJob *b) {
    Fail *fail = &b->job.fail;
    char path[32];
    struct statvfs fs;
    if (b->recursive_readonly || b->userns >= 0) return fail_code(fail, ENOSYS, "mount_setattr", b->target);
    int target CLOSES = mount_target(b->target, path, sizeof path, fail);
    if (target < 0) return false;
    if (mount(b->source, path, NULL, MS_BIND | (b->recursive ? MS_REC : 0), NULL) < 0)
        return fail_set(fail, "mount", b->target);
    unsigned long flags = (b->readonly ? MS_RDONLY : 0) | (b->nosuid ? MS_NOSUID : 0) |
                          (b->nodev ? MS_NODEV : 0) | (b->noexec ? MS_NOEXEC : 0);
    if (flags) {
        // A remount replaces the flags: keep those the source has. ST_* and MS_* agree on these bits.
        if (statvfs(b->target, &fs) == 0) flags |= fs.f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC);
        if (mount(NULL, b->target, NULL, MS_BIND | MS_REMOUNT | flags, NULL) < 0) goto failed;
    }
    if (b->propagation && mount(NULL, b->target, NULL, b->propagation, NULL) < 0) goto failed;
    return true;
failed:
    fail_set(fail, "mount", b->target);
    umount2(b->target, MNT_DETACH | UMOUNT_NOFOLLOW);
    return false;
}

static bool attach(BindJob *b, int tree) {
    Fail *fail = &b->job.fail;
    if (k_move_mount(tree, b->target) < 0) return fail_set(fail, "move_mount", b->target);
    if (!b->propagation) return true;
    // After attaching: a shared parent makes whatever is attached below it shared.
    struct k_mount_attr attr = {.propagation = b->propagation & ~(unsigned long)MS_REC};
    if (set_attr(tree, b->propagation & MS_REC ? K_AT_RECURSIVE : 0, attr, b)) return true;
    umount2(b->target, MNT_DETACH | UMOUNT_NOFOLLOW);
    return false;
}

static bool run_bind(Job *job) {
    BindJob *b = (BindJob *)job;
    unsigned flags = K_OPEN_TREE_CLONE | O_CLOEXEC | (b->recursive ? K_AT_RECURSIVE : 0);
    int tree CLOSES = k_open_tree(AT_FDCWD, b->source, flags);
    if (tree < 0 && errno == ENOSYS) return bind_classic(b);
    if (tree < 0) return fail_set(&job->fail, "open_tree", b->source);
    if (!set_attributes(b, tree)) {
        if (job->fail.err != ENOSYS) return false;
        job->fail = (Fail){0};
        return bind_classic(b);
    }
    return attach(b, tree);
}

MEMBER(gt_bind) {
    Args args;
    BindJob *b = job_new(&args, env, info, "bind", sizeof *b);
    if (!b) return NULL;
    napi_value o = args.v[0], value;
    b->source = args_path(&args, args_member(&args, o, "source"), "source");
    b->target = args_path(&args, args_member(&args, o, "target"), "target");
    b->recursive = args_flag(&args, o, "recursive");
    b->readonly = args_flag(&args, o, "readonly");
    b->recursive_readonly = args_flag(&args, o, "recursiveReadonly");
    b->nosuid = args_flag(&args, o, "nosuid");
    b->nodev = args_flag(&args, o, "nodev");
    b->noexec = args_flag(&args, o, "noexec");
    b->userns = -1;
    if ((value = args_member(&args, o, "propagation"))) b->propagation = mount_propagation(&args, value);
    if ((value = args_member(&args, o, "idmapUserns")))
        b->userns = (int)args_int(&args, value, "idmapUserns", 0, INT_MAX);
    if (b->recursive_readonly && !b->recursive)
        args_fail(&args, "recursiveReadonly", "given together with recursive");
    return job_queue(&args, b, run_bind);
}
