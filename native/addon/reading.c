// SPDX-License-Identifier: Apache-2.0
// See reading.h: files, and what the processes of a cgroup have open.
#include "reading.h"
#include "kernel.h"

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { DESCRIPTORS_MAX = 1 << 16 };

ssize_t file_read(const char *path, int flags, char *data) {
    size_t length = 0;
    int fd CLOSES = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | flags);
    if (fd < 0) return -errno;
    while (length <= TEXT_MAX) {
        ssize_t n = read(fd, data + length, TEXT_MAX + 1 - length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        if (n == 0) return (ssize_t)length;
        length += (size_t)n;
    }
    return -EFBIG;
}

/** The descriptors of one process and how many of them are sockets; a process that has gone has none. */
static void count_descriptors(const char *pid, uint64_t *descriptors, uint64_t *sockets) {
    char folder[64], target[8];
    snprintf(folder, sizeof folder, "/proc/%.20s/fd", pid);
    DIR *dir = opendir(folder);
    if (!dir) return;
    for (struct dirent *entry; *descriptors < DESCRIPTORS_MAX && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.') continue;
        ++*descriptors;
        ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof target);
        *sockets += n >= 7 && memcmp(target, "socket:", 7) == 0;
    }
    closedir(dir);
}

ssize_t processes_read(const char *path, char *data, atomic_uint *progress) {
    uint64_t processes = 0, descriptors = 0, sockets = 0;
    ssize_t length = file_read(path, 0, data);
    if (length < 0) return length;
    data[length < TEXT_MAX ? length : TEXT_MAX] = 0;
    char *rest = NULL;
    for (char *pid = strtok_r(data, "\n", &rest); pid; pid = strtok_r(NULL, "\n", &rest)) {
        processes++;
        atomic_fetch_add(progress, 1);
        count_descriptors(pid, &descriptors, &sockets);
    }
    return snprintf(data, TEXT_MAX, "%llu %llu %llu", (unsigned long long)processes,
                    (unsigned long long)descriptors, (unsigned long long)sockets);
}
