// SPDX-License-Identifier: Apache-2.0
// How many processes of the container's cgroup the kernel killed for lack of memory. The files are opened
// when the container has been created and read again at every change and at its exit, so that a cgroup which
// someone removes early still has told what it knew.
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

struct oom_file {
    struct source src;
    const char *key;
    uint64_t first, last;
};
static struct oom_file files[MAX_OOM_FILES];

/** The value of `key VALUE` on a line of its own. */
static bool look_up(int fd, const char *key, uint64_t *value) {
    char buf[1024];
    ssize_t n = pread(fd, buf, sizeof buf - 1, 0);
    if (n <= 0) return false;
    buf[n] = 0;
    size_t len = strlen(key);
    for (char *line = buf; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        if (strncmp(line, key, len) || line[len] != ' ') continue;
        *value = strtoull(line + len + 1, NULL, 10);
        return true;
    }
    return false;
}

static void changed(struct source *src, uint32_t events) {
    struct oom_file *f = (struct oom_file *)src;
    if (!look_up(src->fd, f->key, &f->last))
        loop_watch(src, 0); // the cgroup is gone; keep what was seen last
}

void oom_begin(void) {
    for (int i = 0; i < the.opt.oom_count; i++) {
        struct oom_file *f = &files[i];
        f->key = the.opt.oom_key[i];
        f->src = (struct source){.fd = open(the.opt.oom_path[i], O_RDONLY | O_CLOEXEC), .ready = changed};
        if (f->src.fd < 0 || !look_up(f->src.fd, f->key, &f->first)) {
            complain("no OOM count in %s: %s", the.opt.oom_path[i], strerror(errno));
            continue;
        }
        f->last = f->first;
        loop_watch(&f->src, EPOLLPRI); // cgroup v2 notifies; v1 does not, and is read at the exit
    }
}

uint64_t oom_kills(void) {
    uint64_t sum = 0;
    for (int i = 0; i < the.opt.oom_count; i++) {
        struct oom_file *f = &files[i];
        if (f->src.fd < 0) continue;
        look_up(f->src.fd, f->key, &f->last);
        sum += f->last - f->first;
    }
    return sum;
}
