// SPDX-License-Identifier: Apache-2.0
// How many processes of the container's cgroup the kernel killed for lack of memory. The files are opened
// when the container has been created and read again at every change and at its exit, so that a cgroup which
// someone removes early still has told what it knew.
//
// systemd removes the cgroup of a scope as soon as its last process is dead, often before the monitor has
// reaped it, and the kernel tells of a change at most every 10 ms: the kill itself can be missed. Then the
// same file of a cgroup above tells, where v2 counts the kills of all below: it has more of them than when
// ours was last read.
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
    int parent; // the file of that name above, or -1
    uint64_t parent_last;
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

/** The parent first: a kill after that is in its count, or in ours as well. False when the cgroup is gone. */
static bool read_again(struct oom_file *f) {
    uint64_t parent = f->parent_last;
    bool told = f->parent >= 0 && look_up(f->parent, f->key, &parent);
    if (look_up(f->src.fd, f->key, &f->last)) {
        f->parent_last = parent;
        return true;
    }
    if (told && parent > f->parent_last) f->last++;
    f->parent_last = parent;
    return false;
}

static void changed(struct source *src, uint32_t events) {
    if (!read_again((struct oom_file *)src)) loop_watch(src, 0); // keep what was seen last
}

/** Cuts the last name off a path. */
static bool cut(char *path) {
    char *end = strrchr(path, '/');
    if (end) *end = 0;
    return end != NULL;
}

/** Of the first cgroup above that does not go with the container, as a scope does. v2 only: v1 counts for
 * itself. */
static void open_parent(struct oom_file *f, const char *path) {
    char up[PATH_MAX];
    f->parent = -1;
    const char *name = strrchr(path, '/'), *kind;
    if (!name || strcmp(name, "/memory.events") || strlen(path) >= sizeof up) return;
    strcpy(up, path);
    cut(up);
    do {
        if (!cut(up)) return;
        kind = strrchr(up, '.');
    } while (kind && !strcmp(kind, ".scope"));
    strcat(up, name); // shorter than before
    f->parent = open(up, O_RDONLY | O_CLOEXEC);
    if (f->parent >= 0) look_up(f->parent, f->key, &f->parent_last);
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
        open_parent(f, the.opt.oom_path[i]);
        loop_watch(&f->src, EPOLLPRI); // cgroup v2 notifies; v1 does not, and is read at the exit
    }
}

uint64_t oom_kills(void) {
    uint64_t sum = 0;
    for (int i = 0; i < the.opt.oom_count; i++) {
        struct oom_file *f = &files[i];
        if (f->src.fd < 0) continue;
        read_again(f);
        sum += f->last - f->first;
    }
    return sum;
}
