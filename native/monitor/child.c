// SPDX-License-Identifier: Apache-2.0
// Starting the runtime, and being the subreaper: every process that ends below this one is reaped here, told
// to its owner (the container's main process or an exec) or forgotten.
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void weigh_as_container(pid_t pid) {
    char path[64], now[16], wanted[16];
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", the.pid);
    if (read_file_at(AT_FDCWD, path, wanted, sizeof wanted) <= 0) return;
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", pid);
    if (read_file_at(AT_FDCWD, path, now, sizeof now) > 0 && strcmp(now, wanted)) write_string(path, wanted);
}

static void become(const struct launch *l) {
    for (int i = 0; i < 3; i++) {
        int fd = l->fds[i] >= 0 ? l->fds[i] : open("/dev/null", O_RDWR | O_CLOEXEC);
        if (fd < 0 || dup2(fd, i) < 0) _exit(126);
    }
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++) sigaction(sig, &dfl, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (the.oom_score_adj[0]) write_string("/proc/self/oom_score_adj", the.oom_score_adj);
    if (l->mark) {
        put_mark(l->mark);
        weigh_as_container(getpid()); // crun leaves its own value to what it starts
    }
    execve(l->argv[0], (char *const *)(uintptr_t)l->argv, environ);
    dprintf(2, "cannot execute %s: %s\n", l->argv[0], strerror(errno));
    _exit(127);
}

pid_t child_spawn(const struct launch *l) {
    pid_t pid = fork();
    if (pid == 0) become(l);
    return pid;
}

static struct exit_status status_of(const siginfo_t *info) {
    if (info->si_code == CLD_EXITED) return (struct exit_status){info->si_status, 0};
    return (struct exit_status){128 + info->si_status, info->si_status};
}

// Ends of processes that belonged to nobody when they were reaped: an exec can be over before its runtime has
// written down its pid. Remembered in turn; the oldest is overwritten.
#define LOST_MAX 64
static struct lost {
    pid_t pid;
    struct exit_status status;
    int64_t at_ms;
} lost[LOST_MAX];
static unsigned next_lost;

bool child_recall(pid_t pid, int64_t since_ms, struct exit_status *status) {
    for (unsigned i = 0; i < LOST_MAX; i++) {
        if (lost[i].pid != pid || lost[i].at_ms < since_ms) continue;
        *status = lost[i].status;
        lost[i].pid = 0;
        return true;
    }
    return false;
}

void child_reap(void) {
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) return;
        struct exit_status s = status_of(&info);
        if (main_reaped(info.si_pid, s) || exec_reaped(info.si_pid, s)) continue;
        // A process may be handed to us a moment before the runtime that started it can be reaped. The
        // runtime writes its pid file before that, so the file says whose it is.
        if (main_claim(info.si_pid))
            main_reaped(info.si_pid, s);
        else if (exec_claim(info.si_pid))
            exec_reaped(info.si_pid, s);
        else
            lost[next_lost++ % LOST_MAX] = (struct lost){info.si_pid, s, monotonic_ms()};
    }
}

void child_clear(int ms) {
    int64_t end = monotonic_ms() + ms;
    for (;;) {
        kill_tree(getpid(), 0);
        siginfo_t info = {0};
        while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid != 0) info.si_pid = 0;
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0 && errno == ECHILD) return;
        if (monotonic_ms() >= end) return;
        poll(NULL, 0, 2);
    }
}

int pidfd_open_of(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

bool read_stat(pid_t pid, long *ppid, long *session, unsigned long long *start) {
    char path[64], buf[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    if (read_file_at(AT_FDCWD, path, buf, sizeof buf) <= 0) return false;
    char *p = strrchr(buf, ')');
    if (!p) return false;
    char *save, *field = strtok_r(p + 1, " ", &save); // state
    for (int i = 0; field && i <= 19; i++, field = strtok_r(NULL, " ", &save)) {
        if (i == 1)
            *ppid = atol(field);
        else if (i == 3)
            *session = atol(field);
        else if (i == 19)
            *start = strtoull(field, NULL, 10);
    }
    return true;
}

uint64_t start_ticks_of(pid_t pid) {
    long ppid = 0, session = 0;
    unsigned long long start = 0;
    return read_stat(pid, &ppid, &session, &start) ? start : 0;
}
