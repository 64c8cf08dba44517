// SPDX-License-Identifier: Apache-2.0
/**
 * Starts programs by posix_spawn (vfork-like: the cost does not grow with this process) with a clean slate:
 * default signal dispositions, empty mask, exactly the given descriptors. The exit is seen through a pidfd
 * and reaped by it, so libuv's own children are never touched.
 */
#include "addon.h"
#include "kernel.h"

#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

typedef struct {
    char *file, *cwd, **argv, **env;
    int *fds;
    uint32_t count;
    bool session;
} Request;

static bool request_read(Args *args, Request *r) {
    napi_value o = args->v[0];
    uint32_t argc = 0, envc = 0;
    r->file = args_path(args, args_member(args, o, "file"), "file");
    r->argv = args_strings(args, args_member(args, o, "argv"), "argv", false, &argc);
    r->env = args_strings(args, args_member(args, o, "env"), "env", false, &envc);
    r->cwd = args_opt_path(args, o, "cwd");
    r->fds = args_fds(args, args_member(args, o, "fds"), "fds", -1, &r->count);
    r->session = args_flag(args, o, "newSession");
    if (!args->failed && argc == 0) args_fail(args, "argv", "not empty");
    napi_valuetype type = napi_undefined;
    if (!args->failed && (napi_typeof(args->env, args->v[1], &type) != napi_ok || type != napi_function))
        args_fail(args, "onExit", "a function");
    return !args->failed;
}

static void close_all(const int *fds, uint32_t count) {
    for (uint32_t i = 0; i < count; i++)
        if (fds[i] >= 0) close(fds[i]);
}

/** Copies above the child's range, so that no dup2 below it can overwrite a source that is still needed. */
static bool lift(const Request *r, int *lifted, Fail *fail) {
    for (uint32_t i = 0; i < r->count; i++) {
        lifted[i] = -1;
        if (r->fds[i] < 0) continue;
        lifted[i] = fcntl(r->fds[i], F_DUPFD_CLOEXEC, (int)r->count);
        if (lifted[i] >= 0) continue;
        fail_set(fail, "dup", NULL);
        close_all(lifted, i);
        return false;
    }
    return true;
}

static int add_actions(const Request *r, const int *lifted, posix_spawn_file_actions_t *actions) {
    int rc = 0;
    for (uint32_t i = 0; i < r->count && rc == 0; i++)
        rc = lifted[i] < 0 ? posix_spawn_file_actions_addopen(actions, (int)i, "/dev/null", O_RDWR, 0)
                           : posix_spawn_file_actions_adddup2(actions, lifted[i], (int)i);
    // Also what some library opened without close-on-exec.
    if (rc == 0) rc = posix_spawn_file_actions_addclosefrom_np(actions, (int)r->count);
    if (rc == 0 && r->cwd) rc = posix_spawn_file_actions_addchdir_np(actions, r->cwd);
    return rc;
}

static void set_attributes(const Request *r, posix_spawnattr_t *attr) {
    sigset_t all, none;
    // Not sigfillset: it leaves out the two signals of the threads library, which would then stay ignored.
    memset(&all, 0xff, sizeof all);
    sigemptyset(&none);
    short flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (r->session) flags |= POSIX_SPAWN_SETSID;
    posix_spawnattr_setsigdefault(attr, &all);
    posix_spawnattr_setsigmask(attr, &none);
    posix_spawnattr_setflags(attr, flags);
}

/** posix_spawn gives one number for all its steps: tell a bad folder from a bad program. */
static bool spawn_failed(const Request *r, int err, Fail *fail) {
    struct stat st;
    if (r->cwd) {
        if (stat(r->cwd, &st) != 0 && errno == err) return fail_code(fail, err, "chdir", r->cwd);
        if (err == ENOTDIR && !S_ISDIR(st.st_mode)) return fail_code(fail, err, "chdir", r->cwd);
    }
    return fail_code(fail, err, "posix_spawn", r->file);
}

static bool spawn_child(const Request *r, pid_t *pid, Fail *fail) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    int lifted[256];
    if (!lift(r, lifted, fail)) return false;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attr);
    set_attributes(r, &attr);
    int rc = add_actions(r, lifted, &actions);
    if (rc != 0)
        fail_code(fail, rc, "posix_spawn", r->file);
    else if ((rc = posix_spawn(pid, r->file, &actions, &attr, r->argv, r->env)) != 0)
        spawn_failed(r, rc, fail);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attr);
    close_all(lifted, r->count);
    return rc == 0;
}

static bool on_ready(Watch *watch) {
    siginfo_t info = {0};
    int rc;
    do rc = waitid((idtype_t)K_PIDFD_IDTYPE, (id_t)watch->fd, &info, WEXITED | WNOHANG);
    while (rc < 0 && errno == EINTR);
    if (rc == 0 && info.si_pid == 0) return false;
    bool exited = rc == 0 && info.si_code == CLD_EXITED;
    watch->code = exited ? info.si_status : -1;
    watch->signal = rc == 0 && !exited ? info.si_status : 0;
    return true;
}

static void on_deliver(Watch *watch) {
    napi_env env = watch->data->env;
    napi_value callback, global, argv[2];
    if (napi_get_reference_value(env, watch->callback, &callback) != napi_ok ||
        napi_get_global(env, &global) != napi_ok ||
        napi_create_int32(env, watch->code, &argv[0]) != napi_ok ||
        napi_create_int32(env, watch->signal, &argv[1]) != napi_ok)
        return;
    napi_make_callback(env, watch->context, global, callback, 2, argv, NULL);
}

/** The child of a spawn that cannot be watched: it is still ours (not reaped), so its pid is safe to signal.
 */
static void abandon(pid_t pid) {
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) continue;
}

static bool watch_child(Watch *watch, pid_t pid, Fail *fail) {
    int fd = k_pidfd_open(pid);
    if (fd < 0) {
        fail_set(fail, "pidfd_open", NULL);
        watch_free(watch);
        return false;
    }
    watch->ready = on_ready;
    watch->deliver = on_deliver;
    watch->pid = pid;
    int rc = watch_start(watch, fd);
    if (rc == 0) return true;
    close(fd);
    return fail_code(fail, -rc, "poll", NULL);
}

MEMBER(gt_spawn) {
    Arena arena = {0};
    Args args;
    Request request = {0};
    Fail fail = {0};
    napi_value result = NULL;
    pid_t pid = 0;
    args_begin(&args, env, info, "spawn", &arena);
    if (!request_read(&args, &request)) goto out;
    Watch *watch = watch_new(env_data(env), "gantry:spawn");
    if (!watch) {
        throw_errno(env, "spawn", request.file);
        goto out;
    }
    if (napi_create_reference(env, args.v[1], 1, &watch->callback) != napi_ok) {
        watch_free(watch);
        goto out;
    }
    if (!spawn_child(&request, &pid, &fail)) {
        watch_free(watch);
    } else if (!watch_child(watch, pid, &fail)) {
        abandon(pid);
    }
    if (fail.err)
        fail_throw(env, &fail);
    else
        napi_create_int32(env, pid, &result);
out:
    arena_free(&arena);
    return result;
}
