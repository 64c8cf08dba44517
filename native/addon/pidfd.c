// SPDX-License-Identifier: Apache-2.0
/** Processes by pidfd: open, signal, wait for the end. Reaps nothing; children of spawn() are reaped there.
 */
#include "addon.h"
#include "kernel.h"

#include <poll.h>

MEMBER(gt_pidfd_open) {
    Args args;
    napi_value result = NULL;
    args_begin(&args, env, info, "pidfdOpen", NULL);
    int pid = (int)args_int(&args, args.v[0], "pid", INT_MIN, INT_MAX);
    if (args.failed) return NULL;
    int fd = -1;
    errno = EINVAL; // 0 is our own group for other calls, 1 is the machine's init: both are mistakes here
    if (pid > 1) fd = k_pidfd_open(pid);
    if (fd < 0) return throw_errno(env, "pidfd_open", NULL);
    napi_create_int32(env, fd, &result);
    return result;
}

MEMBER(gt_pidfd_signal) {
    Args args;
    args_begin(&args, env, info, "pidfdSignal", NULL);
    int fd = (int)args_int(&args, args.v[0], "pidfd", 0, INT_MAX);
    int sig = (int)args_int(&args, args.v[1], "signal", 0, 64);
    if (args.failed) return NULL;
    if (k_pidfd_send_signal(fd, sig) < 0) return throw_errno(env, "pidfd_send_signal", NULL);
    return NULL;
}

static bool on_ready(Watch *watch) {
    struct pollfd p = {.fd = watch->fd, .events = POLLIN};
    return poll(&p, 1, 0) != 0; // an error is an end too: nothing more would ever come
}

static void on_deliver(Watch *watch) {
    napi_value undefined;
    napi_env env = watch->data->env;
    if (napi_get_undefined(env, &undefined) == napi_ok)
        napi_resolve_deferred(env, watch->deferred, undefined);
}

MEMBER(gt_pidfd_wait) {
    Args args;
    napi_value promise = NULL;
    napi_deferred deferred;
    args_begin(&args, env, info, "pidfdWait", NULL);
    int pidfd = (int)args_int(&args, args.v[0], "pidfd", 0, INT_MAX);
    if (args.failed) return NULL;
    // A copy of our own: the caller may close its descriptor at any time without confusing the poll.
    int fd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
    if (fd < 0) return throw_errno(env, "dup", NULL);
    Watch *watch = watch_new(env_data(env), "gantry:pidfdWait");
    if (!watch) {
        throw_errno(env, "pidfdWait", NULL);
        close(fd);
        return NULL;
    }
    watch->ready = on_ready;
    watch->deliver = on_deliver;
    if (napi_create_promise(env, &deferred, &promise) != napi_ok) {
        watch_free(watch);
        close(fd);
        return NULL;
    }
    watch->deferred = deferred;
    int rc = watch_start(watch, fd);
    if (rc == 0) return promise;
    close(fd);
    Fail fail = {0};
    fail_code(&fail, -rc, "poll", NULL);
    napi_reject_deferred(env, deferred, fail_error(env, &fail));
    return promise;
}
