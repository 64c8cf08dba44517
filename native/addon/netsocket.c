// SPDX-License-Identifier: Apache-2.0
/**
 * A TCP or rtnetlink socket that belongs to another network namespace. A socket stays in the namespace of the
 * thread that makes it, so a thread of its own enters the namespace, makes the socket and ends; connecting is
 * the caller's, on the event loop like any other connect.
 */
#include "addon.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct {
    Job job;
    char *netns;
    int family, type;
    int fd;
} SocketJob;

static void *inside(void *memory) {
    SocketJob *job = memory;
    Fail *fail = &job->job.fail;
    int ns = open(job->netns, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (ns < 0) {
        fail_set(fail, "open", job->netns);
        return NULL;
    }
    if (setns(ns, CLONE_NEWNET) < 0)
        fail_set(fail, "setns", job->netns);
    else if ((job->fd = socket(job->family, job->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) < 0)
        fail_set(fail, "socket", job->netns);
    close(ns);
    return NULL;
}

static bool run_socket(Job *job) { return job_on_thread(job, inside); }

static napi_value socket_fd(napi_env env, Job *job) {
    napi_value value = NULL;
    if (napi_create_int32(env, ((SocketJob *)job)->fd, &value) != napi_ok) close(((SocketJob *)job)->fd);
    return value;
}

MEMBER(gt_socket_in_netns) {
    Args args;
    SocketJob *job = job_new(&args, env, info, "socketInNetns", sizeof *job);
    if (!job) return NULL;
    job->netns = args_path(&args, args.v[0], "netns");
    int64_t family = args_int(&args, args.v[1], "family", 0, 6);
    if (family != 0 && family != 4 && family != 6) args_fail(&args, "family", "0, 4 or 6");
    job->family = family == 6 ? AF_INET6 : family == 4 ? AF_INET : AF_NETLINK;
    job->type = family == 0 ? SOCK_RAW : SOCK_STREAM;
    job->job.result = socket_fd;
    return job_queue(&args, job, run_socket);
}
