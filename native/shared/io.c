// SPDX-License-Identifier: Apache-2.0
// See io.h.
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

void close_fd(int *fd) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
}

bool write_all(int fd, const void *data, size_t len) {
    const char *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static ssize_t read_up_to(int fd, char *buf, size_t cap) {
    size_t got = 0;
    while (got + 1 < cap) {
        ssize_t n = read(fd, buf + got, cap - 1 - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        got += (size_t)n;
    }
    buf[got] = 0;
    return (ssize_t)got;
}

ssize_t read_file_at(int dir, const char *name, char *buf, size_t cap) {
    buf[0] = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    ssize_t n = read_up_to(fd, buf, cap);
    close(fd);
    return n;
}

ssize_t read_tail_at(int dir, const char *name, char *buf, size_t cap) {
    buf[0] = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    off_t end = lseek(fd, 0, SEEK_END);
    if (end > (off_t)(cap - 1))
        lseek(fd, end - (off_t)(cap - 1), SEEK_SET);
    else
        lseek(fd, 0, SEEK_SET);
    ssize_t n = read_up_to(fd, buf, cap);
    close(fd);
    return n;
}

bool write_string(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool ok = write_all(fd, text, strlen(text));
    close(fd);
    return ok;
}

static int sync_folder_of(const char *path) {
    char folder[4096];
    const char *slash = strrchr(path, '/');
    size_t n = slash ? (size_t)(slash - path) : 0;
    if (n >= sizeof folder) return -ENAMETOOLONG;
    memcpy(folder, path, n);
    folder[n] = 0;
    int fd = open(slash ? (n ? folder : "/") : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int e = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return e;
}

int replace_file(const char *path, const char *text, size_t len) {
    char temp[4096];
    if (snprintf(temp, sizeof temp, "%s.tmp", path) >= (int)sizeof temp) return -ENAMETOOLONG;
    int fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return -errno;
    int e = 0;
    if (!write_all(fd, text, len) || fsync(fd) < 0) e = -errno;
    close(fd);
    if (!e && rename(temp, path) < 0) e = -errno;
    if (e) {
        unlink(temp);
        return e;
    }
    sync_folder_of(
        path); // the file is in place; a folder that cannot be synced is no reason to say it is not
    return 0;
}

int listen_at(int dir, const char *name, int backlog) {
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    int n = snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/%s", dir, name);
    if (n < 0 || n >= (int)sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT) return -1;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    mode_t old = umask(0177);
    int e = bind(fd, (struct sockaddr *)&addr, sizeof addr);
    int saved = errno;
    umask(old);
    if (e == 0 && listen(fd, backlog) == 0) return fd;
    if (e == 0) saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int recv_fd(int sock) {
    char data[4096];
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(4 * sizeof(int))];
    } control;
    struct iovec iov = {data, sizeof data};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) <= 0) return -1;
    int result = -1;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
            if (result < 0)
                result = fd;
            else
                close(fd);
        }
    }
    return result;
}

long read_number_at(int dir, const char *name) {
    char buf[32];
    if (read_file_at(dir, name, buf, sizeof buf) <= 0) return 0;
    char *end;
    long v = strtol(buf, &end, 10);
    return end == buf || v < 0 ? 0 : v;
}

int64_t monotonic_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
