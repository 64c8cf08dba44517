// SPDX-License-Identifier: Apache-2.0
/**
 * Descriptors over unix sockets (SCM_RIGHTS). Neither call blocks the loop: a full socket throws EAGAIN
 * before anything was sent, an empty one gives null. Received descriptors are close-on-exec from the start.
 */
#include "addon.h"
#include "kernel.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { FDS_MAX = 253, REST_MS = 1000 }; // SCM_MAX_FD of the kernel

typedef union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
} Control;

/** The descriptors are gone with the first piece; the rest of a long text may wait a moment for the reader.
 */
static bool send_rest(int sock, const char *data, size_t length, Fail *fail) {
    while (length > 0) {
        ssize_t n = send(sock, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            data += n;
            length -= (size_t)n;
            continue;
        }
        if (errno == EINTR) continue;
        if (errno != EAGAIN) return fail_set(fail, "sendmsg", NULL);
        struct pollfd p = {.fd = sock, .events = POLLOUT};
        if (poll(&p, 1, REST_MS) == 0) return fail_code(fail, ETIMEDOUT, "sendmsg", NULL);
    }
    return true;
}

static bool send_all(int sock, char *data, size_t length, const int *fds, uint32_t count, Fail *fail) {
    Control control;
    struct iovec iov = {data, length};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n;
    if (count > 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = &control;
        msg.msg_controllen = CMSG_SPACE(count * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(c), fds, count * sizeof(int));
    }
    do n = sendmsg(sock, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail_set(fail, "sendmsg", NULL);
    return send_rest(sock, data + n, length - (size_t)n, fail);
}

MEMBER(gt_send_fds) {
    Arena arena = {0};
    Args args;
    Fail fail = {0};
    size_t length = 0;
    uint32_t count = 0;
    args_begin(&args, env, info, "sendFds", &arena);
    int sock = (int)args_int(&args, args.v[0], "socket", 0, INT_MAX);
    char *data = args_buffer(&args, args.v[1], "data", &length);
    int *fds = args_fds(&args, args.v[2], "fds", 0, &count);
    if (!args.failed && length == 0) args_fail(&args, "data", "at least one byte");
    if (!args.failed && !send_all(sock, data, length, fds, count, &fail)) fail_throw(env, &fail);
    arena_free(&arena);
    return NULL;
}

static uint32_t collect(struct msghdr *msg, int *fds) {
    uint32_t count = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n && count < FDS_MAX; i++)
            memcpy(&fds[count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    return count;
}

static napi_value received(napi_env env, const char *data, size_t length, const int *fds, uint32_t count) {
    napi_value object, buffer, array, value;
    if (napi_create_object(env, &object) != napi_ok ||
        napi_create_buffer_copy(env, length, data, NULL, &buffer) != napi_ok ||
        napi_create_array_with_length(env, count, &array) != napi_ok)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        if (napi_create_int32(env, fds[i], &value) != napi_ok ||
            napi_set_element(env, array, i, value) != napi_ok)
            return NULL;
    if (napi_set_named_property(env, object, "data", buffer) != napi_ok ||
        napi_set_named_property(env, object, "fds", array) != napi_ok)
        return NULL;
    return object;
}

static napi_value receive(napi_env env, int sock, char *data, size_t max) {
    Control control;
    struct iovec iov = {data, max};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    int fds[FDS_MAX];
    ssize_t n;
    napi_value result = NULL;
    do n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) {
        napi_get_null(env, &result);
        return result;
    }
    if (n < 0) return throw_errno(env, "recvmsg", NULL);
    uint32_t count = collect(&msg, fds);
    // The buffer holds all a message can carry: truncation means that descriptors could not be installed
    // here.
    errno = EMFILE;
    if (msg.msg_flags & MSG_CTRUNC)
        throw_errno(env, "recvmsg", NULL);
    else
        result = received(env, data, (size_t)n, fds, count);
    if (!result)
        for (uint32_t i = 0; i < count; i++) close(fds[i]);
    return result;
}

MEMBER(gt_recv_fds) {
    Args args;
    args_begin(&args, env, info, "recvFds", NULL);
    int sock = (int)args_int(&args, args.v[0], "socket", 0, INT_MAX);
    int64_t max = args_int(&args, args.v[1], "maxBytes", 1, 16 << 20);
    if (args.failed) return NULL;
    char *data = malloc((size_t)max);
    if (!data) return throw_errno(env, "malloc", NULL);
    napi_value result = receive(env, sock, data, (size_t)max);
    free(data);
    return result;
}
