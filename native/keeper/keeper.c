// SPDX-License-Identifier: Apache-2.0
// gantry-keeper: a container that runs in a kernel of its pod's own (gVisor), as one process of this machine.
// To the monitor and the daemon it is the OCI runtime: `create` leaves a process behind, the keeper, whose
// pid stands for the container. It holds the stdio until `start`, which it carries out, hands signals on, and
// ends with the container's exit code. SIGKILL cannot be handed on, so END_SIGNAL stands for it. Everything
// else is the runtime's:
//
//   gantry-keeper --runtime PATH GLOBAL... --log FILE --log-format json VERB ...
//
// Does not delete: that ends what still runs when a keeper was killed.
#include "../shared/io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGS_MAX   128
#define END_SIGNAL 64 // SIGRTMAX of the kernel; src/host/oci-runtime/table.ts has it too
#define KILLED     (128 + SIGKILL)
#define NOT_BEGUN  128
#define END_EXEC_S 5
#define PIDS_MAX   4096

static const char *call[ARGS_MAX]; // the runtime and its global arguments
static int call_count, log_at;
static const char *id;
static int root = -1;

static int __attribute__((noreturn)) fail(const char *what) {
    fprintf(stderr, "gantry-keeper: %s: %s\n", what, strerror(errno));
    exit(1);
}

/** Starts the runtime with the global arguments and these; `out` takes its stdout. It ends with us. */
static pid_t begin(const char *const *verb, int out) {
    const char *argv[ARGS_MAX * 2];
    int n = 0;
    for (int i = 0; i < call_count; i++) argv[n++] = call[i];
    while (*verb && n < ARGS_MAX * 2 - 1) argv[n++] = *verb++;
    argv[n] = NULL;
    pid_t pid = fork();
    if (pid != 0) return pid;
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (out >= 0) dup2(out, 1);
    execv(argv[0], (char *const *)(uintptr_t)argv);
    fail(argv[0]);
}

static int finish(pid_t pid) {
    int status = 0;
    if (pid < 0) return 1;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#define RUN(...) finish(begin((const char *const[]){__VA_ARGS__, NULL}, -1))

static void gate_name(char *name, size_t cap) { snprintf(name, cap, ".gate-%s", id); }

// The keeper

/** What `wait` prints: {"id":"…","exitStatus":3}. Nothing, when the pod's kernel has gone. */
static int __attribute__((noreturn)) end_as(int out) {
    char text[4096];
    ssize_t n = read(out, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
    const char *at = strstr(text, "\"exitStatus\":");
    exit(at ? atoi(at + strlen("\"exitStatus\":")) & 255 : KILLED);
}

static void hand_on(int number) {
    char text[16];
    snprintf(text, sizeof text, "%d", number == END_SIGNAL ? SIGKILL : number);
    begin((const char *const[]){"kill", id, text, NULL}, -1);
}

/** Hands signals on until the runtime's `wait` has ended. */
static void __attribute__((noreturn)) keep(int signals) {
    int out[2];
    if (pipe2(out, O_CLOEXEC) < 0) fail("pipe");
    pid_t waiter = begin((const char *const[]){"wait", id, NULL}, out[1]);
    close(out[1]);
    if (waiter < 0) fail("fork");
    for (;;) {
        struct signalfd_siginfo info;
        if (read(signals, &info, sizeof info) != sizeof info) continue;
        if (info.ssi_signo != SIGCHLD) {
            hand_on((int)info.ssi_signo);
            continue;
        }
        for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
            if (pid == waiter) end_as(out[0]);
    }
}

/** Carries out a `start` that somebody asked for: the client sends where the log is to be, and gets the code.
 */
static bool start_for(int client) {
    char log[4096];
    ssize_t n = read(client, log, sizeof log - 1);
    if (n <= 0) return false;
    log[n] = 0;
    char name[80];
    gate_name(name, sizeof name);
    unlinkat(root, name, 0);
    call[log_at] = log;
    uint8_t code = (uint8_t)RUN("start", id);
    call[log_at] = "/dev/null";
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++) dup2(null, fd); // the container's ends of the pipes are its own now
    write_all(client, &code, 1);
    if (code != 0) exit(NOT_BEGUN);
    return true;
}

static void __attribute__((noreturn)) wait_at_gate(int gate) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    int signals = signalfd(-1, &all, SFD_CLOEXEC);
    if (signals < 0) fail("signalfd");
    setsid();
    bool started = false;
    while (!started) {
        struct pollfd fds[] = {{.fd = gate, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) continue;
        struct signalfd_siginfo info;
        if ((fds[1].revents & POLLIN) && read(signals, &info, sizeof info) == sizeof info &&
            info.ssi_signo == END_SIGNAL)
            exit(KILLED);
        int client = fds[0].revents ? accept4(gate, NULL, NULL, SOCK_CLOEXEC) : -1;
        if (client < 0) continue;
        started = start_for(client);
        close(client);
    }
    close(gate);
    keep(signals);
}

// Verbs

static int create(const char **args) {
    const char *mine[ARGS_MAX], *pid_file = NULL;
    int n = 0;
    for (; *args && n < ARGS_MAX - 1; args++) {
        if (!strcmp(*args, "--pid-file") && args[1])
            pid_file = *++args; // the runtime would write that of the pod's kernel
        else
            mine[n++] = *args;
    }
    mine[n] = NULL;
    if (!pid_file) return errno = EINVAL, fail("--pid-file");
    int code = finish(begin(mine, -1));
    if (code != 0) return code;
    char name[80], text[16];
    gate_name(name, sizeof name);
    int gate = listen_at(root, name, 1);
    if (gate < 0) fail("cannot listen in the state folder");
    fcntl(gate, F_SETFD, FD_CLOEXEC);
    call[log_at] = "/dev/null";
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) wait_at_gate(gate);
    int len = snprintf(text, sizeof text, "%d", pid);
    int e = replace_file(pid_file, text, (size_t)len);
    if (e == 0) return 0;
    kill(pid, SIGKILL);
    errno = -e;
    fail(pid_file);
}

static int start(void) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char name[80];
    gate_name(name, sizeof name);
    snprintf(at.sun_path, sizeof at.sun_path, "/proc/self/fd/%d/%s", root, name);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s < 0 || connect(s, (struct sockaddr *)&at, sizeof at) < 0) fail("the container waits for no start");
    const char *log = call[log_at];
    uint8_t code = 1;
    if (!write_all(s, log, strlen(log)) || read(s, &code, 1) != 1) fail("the keeper has gone");
    return code;
}

/** Kills a process of an exec and what descends from it: the runtime's `kill` takes one at a time. */
static int end_exec(const char *first) {
    static int pids[PIDS_MAX], parents[PIDS_MAX];
    static bool doomed[PIDS_MAX];
    int out[2], n = 0;
    alarm(END_EXEC_S);
    if (pipe2(out, O_CLOEXEC) < 0) fail("pipe");
    pid_t ps = begin((const char *const[]){"ps", id, NULL}, out[1]);
    close(out[1]);
    FILE *table = fdopen(out[0], "r");
    char line[1024], uid[32];
    while (table && fgets(line, sizeof line, table) && n < PIDS_MAX)
        if (sscanf(line, "%31s %d %d", uid, &pids[n], &parents[n]) == 3) n++;
    if (table) fclose(table);
    finish(ps);
    int leader = atoi(first);
    for (bool more = true; more;) {
        more = false;
        for (int i = 0; i < n; i++) {
            if (doomed[i]) continue;
            bool below = pids[i] == leader;
            for (int j = 0; j < n && !below; j++) below = doomed[j] && pids[j] == parents[i];
            if (below) doomed[i] = more = true;
        }
    }
    for (int i = 0; i < n; i++) {
        char text[16];
        snprintf(text, sizeof text, "%d", pids[i]);
        if (doomed[i]) RUN("kill", "--pid", text, id, "KILL");
    }
    return 0;
}

int main(int argc, char **argv) {
    int verb = 0;
    for (int i = 3; i + 2 < argc && !verb; i++)
        if (!strcmp(argv[i], "--log-format")) verb = i + 2;
    if (!verb || verb + 1 >= argc || verb >= ARGS_MAX || argc >= ARGS_MAX || strcmp(argv[1], "--runtime"))
        return errno = EINVAL, fail("it is started by gantryd");
    for (int i = 2; i < verb; i++) {
        if (!strcmp(argv[i], "--root")) root = open(argv[i + 1], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (!strcmp(argv[i], "--log")) log_at = call_count + 1;
        call[call_count++] = argv[i];
    }
    if (root < 0 || !log_at) fail("--root");
    id = argv[argc - 1];
    if (!strcmp(argv[verb], "create")) return create((const char **)(uintptr_t)argv + verb);
    if (!strcmp(argv[verb], "start")) return start();
    if (!strcmp(argv[verb], "end-exec")) return end_exec(argv[verb + 1]);
    execv(argv[2], argv + 2);
    fail(argv[2]);
}
