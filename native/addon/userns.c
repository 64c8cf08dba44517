// SPDX-License-Identifier: Apache-2.0
/**
 * Work inside a new user namespace. A threaded process cannot enter one, so a cloned child does. It shares
 * our memory, which spares the copy of the page tables of a large process, and has its own stack. It shares
 * errno and the like with the thread that made it, too: the two take turns over a socket pair, and what
 * either does while it is not its turn is bare system calls that do not fail.
 */
#include "userns.h"
#include "kernel.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { STACK = 128 << 10 };

typedef struct {
    UsernsWork *work;
    int ours, theirs;
    int dumpable;
} Child;

/**
 * What is said over the pair. The end is said, too: a child that is made at the same time has copies of our
 * descriptors, so that closing them tells nobody anything.
 */
enum { GO = 'g', DONE = 'd', END = 'e' };
static bool say(int fd, char what) { return syscall(SYS_sendto, fd, &what, 1, MSG_NOSIGNAL, NULL, 0) == 1; }
static bool hear(int fd, char what) {
    char heard;
    return syscall(SYS_recvfrom, fd, &heard, 1, 0, NULL, NULL) == 1 && heard == what;
}

/**
 * Root by effective id alone: files of the namespace (IPC sysctls since Linux 6.10) ask for it, while the
 * real and the saved id stay the host's, so that no process of the mapped user may trace this one. By the
 * bare calls: those of libc change all threads. The change makes our shared memory undumpable, which is taken
 * back.
 */
static bool become_root(Child *child) {
    UsernsWork *w = child->work;
    if (syscall(SYS_setresgid, -1, 0, -1) < 0) return fail_set(w->fail, "setresgid", NULL);
    if (syscall(SYS_setresuid, -1, 0, -1) < 0) return fail_set(w->fail, "setresuid", NULL);
    if (prctl(PR_SET_DUMPABLE, child->dumpable) < 0) return fail_set(w->fail, "prctl", NULL);
    // Changed credentials drop it.
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 || fail_set(w->fail, "prctl", NULL);
}

static int in_child(void *memory) {
    Child *child = memory;
    syscall(SYS_close, child->ours);
    syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); // it has no life beyond the thread that made it
    if (hear(child->theirs, GO)) {
        if (become_root(child)) child->work->inside(child->work->memory);
        if (say(child->theirs, DONE)) hear(child->theirs, END);
    }
    syscall(SYS_exit, 0);
    __builtin_unreachable();
}

static bool write_map(pid_t pid, const char *file, const char *map, Fail *fail) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    int fd CLOSES = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail_set(fail, "open", path);
    return write(fd, map, strlen(map)) == (ssize_t)strlen(map) || fail_set(fail, "write", path);
}

static bool talk(UsernsWork *w, int fd, pid_t pid) {
    if (!write_map(pid, "uid_map", w->uid_map, w->fail) || !write_map(pid, "gid_map", w->gid_map, w->fail))
        return false;
    if (!say(fd, GO) || !hear(fd, DONE)) return fail_code(w->fail, EPIPE, "clone", NULL);
    return w->fail->err == 0 && w->outside(w->memory, pid);
}

bool in_userns(Arena *arena, UsernsWork *work) {
    int pair[2];
    char *stack = arena_alloc(arena, STACK);
    if (!stack) return fail_code(work->fail, ENOMEM, "malloc", NULL);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_set(work->fail, "socketpair", NULL);
    Child child = {work, pair[0], pair[1], prctl(PR_GET_DUMPABLE)};
    if (child.dumpable != 0 && child.dumpable != 1) child.dumpable = 0;
    // No signal at its end: nobody but this thread has to know of it.
    pid_t pid = clone(in_child, stack + STACK, CLONE_VM | CLONE_NEWUSER, &child);
    if (pid < 0) fail_set(work->fail, "clone(CLONE_NEWUSER)", NULL);
    close(pair[1]);
    bool done = pid > 0 && talk(work, pair[0], pid);
    say(pair[0], END);
    close(pair[0]);
    if (pid > 0)
        while (waitpid(pid, NULL, __WALL) < 0 && errno == EINTR) continue;
    return done;
}
