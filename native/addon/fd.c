// SPDX-License-Identifier: Apache-2.0
/** Descriptors: pipes, socket pairs, locks, peers, syncfs. All that is made here is close-on-exec. */
#include "addon.h"
#include "kernel.h"

#include <sys/file.h>
#include <sys/socket.h>

static napi_value pair(napi_env env, const int fds[2]) {
    napi_value array = NULL, value;
    napi_create_array_with_length(env, 2, &array);
    for (uint32_t i = 0; i < 2; i++)
        if (napi_create_int32(env, fds[i], &value) == napi_ok) napi_set_element(env, array, i, value);
    return array;
}

MEMBER(gt_pipe) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0) return throw_errno(env, "pipe2", NULL);
    return pair(env, fds);
}

MEMBER(gt_socketpair) {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return throw_errno(env, "socketpair", NULL);
    return pair(env, fds);
}

static bool fd_argument(Args *args, napi_env env, napi_callback_info info, const char *fn, int *fd) {
    args_begin(args, env, info, fn, NULL);
    *fd = (int)args_int(args, args->v[0], "fd", 0, INT_MAX);
    return !args->failed;
}

MEMBER(gt_close) {
    Args args;
    int fd;
    if (!fd_argument(&args, env, info, "close", &fd)) return NULL;
    // EINTR has closed it all the same: closing again could hit a descriptor of someone else.
    if (close(fd) < 0 && errno != EINTR) return throw_errno(env, "close", NULL);
    return NULL;
}

MEMBER(gt_flock) {
    Args args;
    int fd, rc;
    napi_value result = NULL;
    if (!fd_argument(&args, env, info, "flock", &fd)) return NULL;
    do rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc < 0 && errno == EINTR);
    if (rc < 0 && errno != EWOULDBLOCK) return throw_errno(env, "flock", NULL);
    napi_get_boolean(env, rc == 0, &result);
    return result;
}

MEMBER(gt_peer_cred) {
    Args args;
    int fd;
    struct ucred cred;
    socklen_t size = sizeof cred;
    napi_value object = NULL, value;
    if (!fd_argument(&args, env, info, "peerCred", &fd)) return NULL;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0)
        return throw_errno(env, "getsockopt", NULL);
    if (napi_create_object(env, &object) != napi_ok) return NULL;
    if (napi_create_int32(env, cred.pid, &value) == napi_ok)
        napi_set_named_property(env, object, "pid", value);
    if (napi_create_uint32(env, cred.uid, &value) == napi_ok)
        napi_set_named_property(env, object, "uid", value);
    if (napi_create_uint32(env, cred.gid, &value) == napi_ok)
        napi_set_named_property(env, object, "gid", value);
    return object;
}

typedef struct {
    Job job;
    char *path;
} SyncJob;

static bool run_sync(Job *job) {
    SyncJob *sync = (SyncJob *)job;
    int fd CLOSES = open(sync->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return fail_set(&job->fail, "open", sync->path);
    return syncfs(fd) == 0 || fail_set(&job->fail, "syncfs", sync->path);
}

MEMBER(gt_syncfs) {
    Args args;
    SyncJob *job = job_new(&args, env, info, "syncfs", sizeof *job);
    if (!job) return NULL;
    job->path = args_path(&args, args.v[0], "path");
    return job_queue(&args, job, run_sync);
}
