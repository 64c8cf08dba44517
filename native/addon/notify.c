// SPDX-License-Identifier: Apache-2.0
/** One datagram to a unix socket by its name, as sd_notify(3) sends them: Node has no such sockets. */
#include "addon.h"
#include "kernel.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

MEMBER(gt_notify) {
    Args args;
    Arena arena = {0};
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    args_begin(&args, env, info, "notify", &arena);
    const char *path = args_string(&args, args.v[0], "path");
    const char *text = args_string(&args, args.v[1], "text");
    if (path && (path[0] == 0 || strlen(path) >= sizeof to.sun_path))
        args_fail(&args, "path", "a name of at most 107 bytes");
    if (!args.failed) {
        size_t length = strlen(path);
        memcpy(to.sun_path, path, length);
        // A name that begins with @ is abstract: the kernel wants a zero in its place, and no zero at its
        // end.
        if (path[0] == '@') to.sun_path[0] = 0;
        socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
        int fd CLOSES = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
            throw_errno(env, "socket", NULL);
        else if (sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&to, size) < 0)
            throw_errno(env, "sendto", path);
    }
    arena_free(&arena);
    return NULL;
}
