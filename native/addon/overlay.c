// SPDX-License-Identifier: Apache-2.0
/**
 * Overlay mounts with any number of layers: one fsconfig call a layer, so nothing has to fit a page or be
 * escaped. A path the kernel would split, unescape or refuse for its length goes in as /proc/self/fd/N of an
 * O_PATH descriptor. Kernels without `lowerdir+` get mount(2). What the kernel logged about a refusal is in
 * the error.
 */
#include "kernel.h"
#include "mount.h"
#include "probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>

enum { STRING_MAX = 255, DATA_MAX = 4095 }; // of fsconfig and of mount(2)

typedef struct {
    Job job;
    char **lower;
    uint32_t count;
    char *upper, *work, *target;
    bool is_volatile;
    /** O_PATH descriptors behind substituted paths, closed when the mount holds its own references. */
    int *held;
    uint32_t holds;
} OverlayJob;

/** Writes the path, or its descriptor's name where the plain path would not survive. */
static bool reference(OverlayJob *o, const char *path, bool always, char *out, size_t size) {
    if (!always && strlen(path) <= STRING_MAX && !strpbrk(path, "\\:,")) {
        snprintf(out, size, "%s", path);
        return true;
    }
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_set(&o->job.fail, "open", path);
    o->held[o->holds++] = fd;
    snprintf(out, size, "/proc/self/fd/%d", fd);
    return true;
}

/** Appends the messages of the file system context ("e overlay: ...") to the failure. */
static void take_log(int fs, Fail *fail) {
    char line[256];
    size_t used = strlen(fail->note);
    ssize_t n;
    while ((n = read(fs, line, sizeof line - 1)) > 0 && used + 3 < sizeof fail->note) {
        while (n > 0 && line[n - 1] == '\n') n--;
        line[n] = 0;
        used += (size_t)snprintf(fail->note + used, sizeof fail->note - used, "%s%s", used ? "; " : "",
                                 n > 2 && line[1] == ' ' ? line + 2 : line);
        if (used >= sizeof fail->note) used = sizeof fail->note - 1;
    }
}

static bool set_path(OverlayJob *o, int fs, const char *key, const char *call, const char *path) {
    char text[PATH_MAX];
    if (!reference(o, path, false, text, sizeof text)) return false;
    return k_fsconfig(fs, K_FSCONFIG_STRING, key, text) == 0 || fail_set(&o->job.fail, call, path);
}

static bool configure(OverlayJob *o, int fs) {
    Fail *fail = &o->job.fail;
    if (k_fsconfig(fs, K_FSCONFIG_STRING, "source", "overlay") < 0)
        return fail_set(fail, "fsconfig", o->target);
    for (uint32_t i = 0; i < o->count; i++)
        if (!set_path(o, fs, "lowerdir+", "fsconfig(lowerdir+)", o->lower[i])) return false;
    if (o->upper && !set_path(o, fs, "upperdir", "fsconfig(upperdir)", o->upper)) return false;
    if (o->work && !set_path(o, fs, "workdir", "fsconfig(workdir)", o->work)) return false;
    if (o->is_volatile && k_fsconfig(fs, K_FSCONFIG_FLAG, "volatile", NULL) < 0)
        return fail_set(fail, "fsconfig(volatile)", o->target);
    return k_fsconfig(fs, K_FSCONFIG_CREATE, NULL, NULL) == 0 || fail_set(fail, "fsconfig", o->target);
}

static bool mount_new(OverlayJob *o) {
    Fail *fail = &o->job.fail;
    int fs CLOSES = k_fsopen("overlay");
    if (fs < 0) return fail_set(fail, "fsopen", o->target);
    if (!configure(o, fs)) {
        take_log(fs, fail);
        return false;
    }
    int tree CLOSES = k_fsmount(fs, o->upper ? 0 : K_ATTR_RDONLY);
    if (tree < 0) {
        fail_set(fail, "fsmount", o->target);
        take_log(fs, fail);
        return false;
    }
    return k_move_mount(tree, o->target) == 0 || fail_set(fail, "move_mount", o->target);
}

/** The option string of mount(2); false with E2BIG when it does not fit. */
static bool classic_data(OverlayJob *o, bool always, char *data) {
    char text[PATH_MAX];
    size_t used = 0;
    const char *paths[2] = {o->upper, o->work}, *keys[2] = {",upperdir=", ",workdir="};
    for (uint32_t i = 0; i < o->count && used <= DATA_MAX; i++) {
        if (!reference(o, o->lower[i], always, text, sizeof text)) return false;
        used += (size_t)snprintf(data + used, DATA_MAX + 1 - used, "%s%s", i ? ":" : "lowerdir=", text);
    }
    for (int i = 0; i < 2 && paths[i] && used <= DATA_MAX; i++) {
        if (!reference(o, paths[i], always, text, sizeof text)) return false;
        used += (size_t)snprintf(data + used, DATA_MAX + 1 - used, "%s%s", keys[i], text);
    }
    if (o->is_volatile && used <= DATA_MAX)
        used += (size_t)snprintf(data + used, DATA_MAX + 1 - used, ",volatile");
    return used <= DATA_MAX || fail_code(&o->job.fail, E2BIG, "mount", o->target);
}

static bool mount_classic(OverlayJob *o) {
    Fail *fail = &o->job.fail;
    char data[DATA_MAX + 1], target[32];
    if (!classic_data(o, false, data)) {
        if (fail->err != E2BIG) return false;
        *fail = (Fail){0}; // descriptors have short names
        if (!classic_data(o, true, data)) return false;
    }
    int fd CLOSES = mount_target(o->target, target, sizeof target, fail);
    if (fd < 0) return false;
    return mount("overlay", target, "overlay", o->upper ? 0 : MS_RDONLY, data) == 0 ||
           fail_set(fail, "mount", o->target);
}

/** The single layer by mount(2). */
static bool bind_single(OverlayJob *o) {
    char target[32];
    int fd CLOSES = mount_target(o->target, target, sizeof target, &o->job.fail);
    if (fd < 0) return false;
    if (mount(o->lower[0], target, NULL, MS_BIND, NULL) < 0)
        return fail_set(&o->job.fail, "mount", o->target);
    if (mount(NULL, o->target, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0) return true;
    fail_set(&o->job.fail, "mount", o->target);
    umount2(o->target, MNT_DETACH | UMOUNT_NOFOLLOW);
    return false;
}

/** overlayfs refuses a single layer without an upper: its read-only bind is the same tree. */
static bool mount_single(OverlayJob *o) {
    Fail *fail = &o->job.fail;
    struct k_mount_attr attr = {.attr_set = K_ATTR_RDONLY};
    int tree CLOSES = k_open_tree(AT_FDCWD, o->lower[0], K_OPEN_TREE_CLONE | O_CLOEXEC);
    if (tree < 0 && errno == ENOSYS) return bind_single(o);
    if (tree < 0) return fail_set(fail, "open_tree", o->lower[0]);
    if (k_mount_setattr(tree, 0, &attr) < 0)
        return errno == ENOSYS ? bind_single(o) : fail_set(fail, "mount_setattr", o->target);
    return k_move_mount(tree, o->target) == 0 || fail_set(fail, "move_mount", o->target);
}

static bool run_overlay(Job *job) {
    OverlayJob *o = (OverlayJob *)job;
    // One slot for each path in each of the three attempts.
    o->held = calloc(3 * (o->count + 2), sizeof *o->held);
    if (!o->held) return fail_code(&job->fail, ENOMEM, "malloc", NULL);
    bool single = o->count == 1 && !o->upper;
    bool done = single ? mount_single(o) : mount_new(o);
    bool maybe_old = job->fail.err == ENOSYS || job->fail.err == EINVAL;
    if (!done && !single && maybe_old && !probe_lowerdir_plus()) {
        job->fail = (Fail){0};
        done = mount_classic(o);
    }
    for (uint32_t i = 0; i < o->holds; i++) close(o->held[i]);
    free(o->held);
    return done;
}

MEMBER(gt_mount_overlay) {
    Args args;
    OverlayJob *o = job_new(&args, env, info, "mountOverlay", sizeof *o);
    if (!o) return NULL;
    napi_value options = args.v[0];
    o->lower = args_strings(&args, args_member(&args, options, "lower"), "lower", true, &o->count);
    o->upper = args_opt_path(&args, options, "upper");
    o->work = args_opt_path(&args, options, "work");
    o->target = args_path(&args, args_member(&args, options, "target"), "target");
    o->is_volatile = args_flag(&args, options, "volatile");
    if (!args.failed && o->count == 0) args_fail(&args, "lower", "not empty");
    if (!o->upper != !o->work) args_fail(&args, "upper and work", "given together");
    return job_queue(&args, o, run_overlay);
}
