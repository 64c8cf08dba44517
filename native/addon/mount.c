// SPDX-License-Identifier: Apache-2.0
/** Plain mounts, umount, propagation. Targets are never followed if they are links. */
#include "mount.h"
#include "kernel.h"

#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    unsigned long flags;
} PROPAGATION[] = {
    {"private", MS_PRIVATE},       {"rprivate", MS_PRIVATE | MS_REC},
    {"shared", MS_SHARED},         {"rshared", MS_SHARED | MS_REC},
    {"slave", MS_SLAVE},           {"rslave", MS_SLAVE | MS_REC},
    {"unbindable", MS_UNBINDABLE}, {"runbindable", MS_UNBINDABLE | MS_REC},
};

unsigned long mount_propagation(Args *args, napi_value value) {
    char *name = args_string(args, value, "propagation");
    if (!name) return 0;
    for (size_t i = 0; i < sizeof PROPAGATION / sizeof *PROPAGATION; i++)
        if (strcmp(PROPAGATION[i].name, name) == 0) return PROPAGATION[i].flags;
    args_fail(args, "propagation", "the name of a propagation");
    return 0;
}

int mount_target(const char *target, char *path, size_t size, Fail *fail) {
    struct stat st;
    int fd = open(target, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        fail_set(fail, "open", target);
        return -1;
    }
    if (fstat(fd, &st) == 0 && S_ISLNK(st.st_mode)) {
        fail_code(fail, ELOOP, "open", target);
        close(fd);
        return -1;
    }
    snprintf(path, size, "/proc/self/fd/%d", fd);
    return fd;
}

static bool propagate(const char *target, unsigned long flags, Fail *fail) {
    char path[32];
    int fd CLOSES = mount_target(target, path, sizeof path, fail);
    if (fd < 0) return false;
    return mount(NULL, path, NULL, flags, NULL) == 0 || fail_set(fail, "mount", target);
}

typedef struct {
    Job job;
    char *type, *source, *target, *data;
    unsigned long flags;
} MountJob;

static bool run_mount(Job *job) {
    MountJob *m = (MountJob *)job;
    char path[32];
    int fd CLOSES = mount_target(m->target, path, sizeof path, &job->fail);
    if (fd < 0) return false;
    return mount(m->source, path, m->type, m->flags, m->data) == 0 ||
           fail_set(&job->fail, "mount", m->target);
}

static const struct {
    const char *name;
    unsigned long flag;
} FLAGS[] = {
    {"ro", MS_RDONLY},     {"nosuid", MS_NOSUID},   {"nodev", MS_NODEV},
    {"noexec", MS_NOEXEC}, {"noatime", MS_NOATIME}, {"relatime", MS_RELATIME},
};

static unsigned long mount_flag(Args *args, const char *name) {
    for (size_t i = 0; name && i < sizeof FLAGS / sizeof *FLAGS; i++)
        if (strcmp(FLAGS[i].name, name) == 0) return FLAGS[i].flag;
    args_fail(args, "flags[]", "one of ro, nosuid, nodev, noexec, noatime, relatime");
    return 0;
}

MEMBER(gt_mount) {
    Args args;
    MountJob *m = job_new(&args, env, info, "mount", sizeof *m);
    if (!m) return NULL;
    napi_value o = args.v[0];
    uint32_t count = 0;
    m->type = args_string(&args, args_member(&args, o, "type"), "type");
    m->source = args_string(&args, args_member(&args, o, "source"), "source");
    m->target = args_path(&args, args_member(&args, o, "target"), "target");
    m->data = args_opt_string(&args, o, "data");
    napi_value list = args_member(&args, o, "flags");
    char **names = list ? args_strings(&args, list, "flags", false, &count) : NULL;
    for (uint32_t i = 0; names && i < count && !args.failed; i++) m->flags |= mount_flag(&args, names[i]);
    return job_queue(&args, m, run_mount);
}

typedef struct {
    Job job;
    char *target;
    bool detach;
    unsigned long propagation;
} TargetJob;

static bool run_umount(Job *job) {
    TargetJob *t = (TargetJob *)job;
    if (umount2(t->target, UMOUNT_NOFOLLOW | (t->detach ? MNT_DETACH : 0)) == 0) return true;
    // Not a mount point, or not there at all: what was asked for is so already.
    return errno == EINVAL || errno == ENOENT || errno == ENOTDIR ||
           fail_set(&job->fail, "umount2", t->target);
}

MEMBER(gt_umount) {
    Args args;
    TargetJob *t = job_new(&args, env, info, "umount", sizeof *t);
    if (!t) return NULL;
    t->target = args_path(&args, args.v[0], "target");
    t->detach = args_bool(&args, args.v[1], "detach");
    return job_queue(&args, t, run_umount);
}

static bool run_propagation(Job *job) {
    TargetJob *t = (TargetJob *)job;
    return propagate(t->target, t->propagation, &job->fail);
}

MEMBER(gt_set_propagation) {
    Args args;
    TargetJob *t = job_new(&args, env, info, "setPropagation", sizeof *t);
    if (!t) return NULL;
    t->target = args_path(&args, args.v[0], "target");
    t->propagation = mount_propagation(&args, args.v[1]);
    return job_queue(&args, t, run_propagation);
}
