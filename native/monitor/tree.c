// SPDX-License-Identifier: Apache-2.0
// The end of whole trees of processes: who belongs to one, also when it has left it, and their death. Stops
// everyone before it kills anyone, so that nobody starts another meanwhile.
#include "monitor.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define DEATH_MS 300

// An exec's processes carry a mark that fork, exec, setsid and a new parent all leave: a limit of CPU time
// for real-time scheduling (RLIMIT_RTTIME, in microseconds) of more than 100 000 years, which limits nothing.
// So they are found also when they have left their tree, without a cgroup for each exec.
uint64_t exec_mark(unsigned number) {
    return (uint64_t)1 << 62 | ((uint64_t)getpid() & 0x3fffff) << 40 | (the.start_ticks & 0xfffff) << 20 |
           (number & 0xfffff);
}

void put_mark(uint64_t mark) {
    struct rlimit limit = {.rlim_cur = mark, .rlim_max = mark};
    setrlimit(RLIMIT_RTTIME, &limit);
}

static bool has_mark(pid_t pid, uint64_t mark) {
    char path[64], buf[4096];
    snprintf(path, sizeof path, "/proc/%d/limits", pid);
    if (read_file_at(AT_FDCWD, path, buf, sizeof buf) <= 0) return false;
    const char *line = strstr(buf, "Max realtime timeout");
    return line && strtoull(line + strlen("Max realtime timeout"), NULL, 10) == mark;
}

struct pids {
    pid_t *list;
    size_t count, cap;
};

static bool has(const struct pids *set, long pid) {
    for (size_t i = 0; i < set->count; i++)
        if (set->list[i] == pid) return true;
    return false;
}

static bool add(struct pids *set, pid_t pid) {
    if (set->count == set->cap) {
        size_t cap = set->cap ? set->cap * 2 : 32;
        pid_t *list = realloc(set->list, cap * sizeof *list);
        if (!list) return false;
        set->list = list;
        set->cap = cap;
    }
    set->list[set->count++] = pid;
    return true;
}

/** One walk over /proc; true if it found and stopped a process that was not known yet. */
static bool stop_more(struct pids *set, pid_t root, uint64_t mark) {
    DIR *proc = opendir("/proc");
    if (!proc) return false;
    bool found = false;
    for (struct dirent *d; (d = readdir(proc));) {
        pid_t pid = atoi(d->d_name);
        long ppid = 0, session = 0;
        unsigned long long start = 0;
        if (pid <= 1 || pid == getpid() || pid == the.pid || has(set, pid)) continue;
        if (!read_stat(pid, &ppid, &session, &start)) continue;
        if (!has(set, ppid) && !(mark && (session == root || has_mark(pid, mark)))) continue;
        if (!add(set, pid)) break;
        kill(pid, SIGSTOP); // a stopped process cannot start another one behind our back
        found = true;
    }
    closedir(proc);
    return found;
}

/** Until each is a zombie or gone, as long as there is time: an answer must not come before the end. */
static void await_death(const struct pids *set) {
    int64_t end = monotonic_ms() + DEATH_MS;
    for (size_t i = 0; i < set->count; i++) {
        struct pollfd p = {.fd = set->list[i] == getpid() ? -1 : pidfd_open_of(set->list[i]),
                           .events = POLLIN};
        int64_t left = end - monotonic_ms();
        if (p.fd >= 0) poll(&p, 1, left > 0 ? (int)left : 0);
        close_fd(&p.fd);
    }
}

void kill_tree(pid_t root, uint64_t mark) {
    struct pids set = {0};
    if (root <= 1 || !add(&set, root)) return;
    if (root != getpid()) kill(root, SIGSTOP);
    for (int i = 0; i < 64 && stop_more(&set, root, mark); i++) continue;
    for (size_t i = 0; i < set.count; i++)
        if (set.list[i] != getpid()) kill(set.list[i], SIGKILL);
    await_death(&set);
    free(set.list);
}
