// SPDX-License-Identifier: Apache-2.0
// gantry-monitor: one container's watcher. Sets itself up, runs `runtime create`, shakes hands with the
// parent (CREATED or FAILED), then logs, serves and waits until the container's process has ended, writes
// exit.json and leaves. Before the handshake it exits 1 on an error; after it, it never exits because of one,
// and nothing it does depends on the daemon being alive.
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARENT_FD      3
#define LINGER_MS      2000
#define COMPLAINTS_MAX (64 * 1024)

struct monitor the = {.run_dir = -1, .master = -1, .slave = -1, .pidfd = {.fd = -1}, .log = {.fd = -1}};
uint8_t chunk[CHUNK];

static struct source signals;
static int stdio_parent[3] = {-1, -1, -1}; // our ends of the container's pipes until it has been created
static int console = -1;
static bool exited, not_created;

void complain(const char *format, ...) {
    static size_t written;
    char line[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    if (n < 0 || the.run_dir < 0 || written > COMPLAINTS_MAX) return;
    if (n > (int)sizeof line - 2) n = sizeof line - 2;
    line[n++] = '\n';
    int fd = openat(the.run_dir, "monitor.log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return;
    if (write_all(fd, line, (size_t)n)) written += (size_t)n;
    close(fd);
}

// Set-up

static void own_descriptors(void) {
    if (fcntl(PARENT_FD, F_GETFD) < 0) {
        static const char text[] = "gantry-monitor is started by gantryd: descriptor 3 must be its socket\n";
        write_all(2, text, sizeof text - 1);
        exit(1);
    }
    for (int fd = 0; fd < PARENT_FD; fd++)
        if (fcntl(fd, F_GETFD) < 0) open("/dev/null", O_RDWR); // takes the lowest free number, which is fd
    if (syscall(SYS_close_range, PARENT_FD + 1, ~0u, 0) < 0)
        for (int fd = PARENT_FD + 1; fd < 1024; fd++) close(fd);
    fcntl(PARENT_FD, F_SETFD, FD_CLOEXEC);
}

static void own_identity(void) {
    prctl(PR_SET_NAME, "gantry-monitor");
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    umask(022);
    setsid();
    read_file_at(AT_FDCWD, "/proc/self/oom_score_adj", the.oom_score_adj, sizeof the.oom_score_adj);
    write_string("/proc/self/oom_score_adj", "-999");
}

static void on_signal(struct source *src, uint32_t events) {
    struct signalfd_siginfo info;
    while (read(src->fd, &info, sizeof info) == sizeof info)
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) the.abort_wanted = true;
    child_reap();
}

/** Signals come through the loop; those that would end or stop the monitor have no effect. */
static bool own_signals(void) {
    sigset_t all;
    sigfillset(&all);
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    for (int sig = 1; sig < NSIG; sig++)
        sigaction(sig, &dfl, NULL); // an ignored SIGCHLD would lose exit codes
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigset_t wanted;
    sigemptyset(&wanted);
    int list[] = {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGPIPE, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) sigaddset(&wanted, list[i]);
    signals = (struct source){.fd = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK), .ready = on_signal};
    return signals.fd >= 0 && loop_watch(&signals, EPOLLIN);
}

static bool wait_gone(struct conn *c) {
    int64_t end = monotonic_ms() + LINGER_MS;
    while (the.parent == c && monotonic_ms() < end) loop_round(50);
    return true;
}

/** Before the handshake: says why and leaves. */
static void __attribute__((noreturn)) give_up(uint8_t stage, int exit_status, const char *message) {
    if (the.parent) {
        send_failed(the.parent, stage, exit_status, message);
        conn_finish(the.parent);
        wait_gone(the.parent);
    }
    if (the.run_dir >= 0) unlinkat(the.run_dir, "ctl.sock", 0);
    child_clear(LINGER_MS);
    exit(1);
}

static void __attribute__((noreturn)) give_up_errno(uint8_t stage, const char *what, int e) {
    char text[PATH_MAX + 128];
    snprintf(text, sizeof text, "%s: %s", what, strerror(e));
    give_up(stage, -1, text);
}

static void set_up(int argc, char **argv) {
    own_descriptors();
    own_identity();
    if (!loop_init() || !own_signals()) exit(1);
    const char *problem = options_parse(argc, argv, &the.opt);
    set_nonblock(PARENT_FD);
    the.parent = control_adopt(PARENT_FD);
    if (problem) give_up(STAGE_SETUP, -1, problem);
    if (the.opt.cgroup_procs && !write_string(the.opt.cgroup_procs, "0"))
        give_up_errno(STAGE_SETUP, the.opt.cgroup_procs, errno);
    the.run_dir = open(the.opt.run_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (the.run_dir < 0) give_up_errno(STAGE_SETUP, the.opt.run_dir, errno);
    the.log.path = the.opt.log;
    int e = crilog_open(&the.log);
    if (e) give_up_errno(STAGE_LOG, the.opt.log, -e);
    the.out_lines.name = "stdout";
    the.err_lines.name = "stderr";
    if (!control_listen()) give_up_errno(STAGE_SETUP, "ctl.sock", errno);
}

// Creation

static bool make_stdio(int fds[3]) {
    if (the.opt.tty) {
        console = listen_at(the.run_dir, "console.sock", 1);
        return console >= 0 && make_pipe(&stdio_parent[2], &fds[2]); // the runtime's own complaints
    }
    if (the.opt.stdin_open && !make_pipe(&fds[0], &stdio_parent[0])) return false;
    return make_pipe(&stdio_parent[1], &fds[1]) && make_pipe(&stdio_parent[2], &fds[2]);
}

static void create(void) {
    int fds[3] = {-1, -1, -1};
    char socket_path[64];
    unlinkat(the.run_dir, "container.pid", 0);
    unlinkat(the.run_dir, "runtime.log", 0);
    if (!make_stdio(fds)) give_up_errno(STAGE_SETUP, "cannot make the container's stdio", errno);
    struct runtime_argv a;
    runtime_argv_begin(&a, "runtime.log");
    runtime_arg(&a, "create");
    runtime_arg(&a, "--bundle");
    runtime_arg(&a, the.opt.bundle);
    runtime_arg(&a, "--pid-file");
    runtime_arg_path(&a, "container.pid");
    if (the.opt.tty) {
        snprintf(socket_path, sizeof socket_path, "/proc/%d/fd/%d/console.sock", getpid(), the.run_dir);
        runtime_arg(&a, "--console-socket");
        runtime_arg(&a, socket_path);
    }
    runtime_arg(&a, the.opt.id);
    the.runtime = runtime_spawn(&a, fds, 0);
    if (the.runtime < 0) give_up_errno(STAGE_CREATE, "cannot start the runtime", errno);
    for (int i = 0; i < 3; i++) close_fd(&fds[i]);
}

static int take_terminal(void) {
    int master = take_console(console);
    close_fd(&console);
    unlinkat(the.run_dir, "console.sock", 0);
    return master;
}

/** For a process that is not our child its exit code cannot be known; the pidfd at least tells that it ended.
 */
static void on_pidfd(struct source *src, uint32_t events) {
    child_reap();
    if (exited) return;
    complain("process %d ended, but is no child of this monitor: its exit code is unknown", the.pid);
    main_reaped(the.pid, (struct exit_status){255, 0});
}

static void created(void) {
    uint8_t payload[CREATED_SIZE];
    the.phase = PHASE_LIVE;
    the.start_ticks = start_ticks_of(the.pid);
    if (!exited) {
        the.pidfd = (struct source){.fd = pidfd_open_of(the.pid), .ready = on_pidfd};
        loop_watch(&the.pidfd, EPOLLIN);
    }
    int master = the.opt.tty ? take_terminal() : -1;
    if (the.opt.tty) close_fd(&stdio_parent[2]);
    if (the.opt.tty && master < 0) complain("the runtime sent no terminal");
    oom_begin();
    stdio_begin(stdio_parent[1], stdio_parent[2], stdio_parent[0], master);
    encode_created(payload, the.pid, the.start_ticks);
    conn_send(the.parent, FRAME_CREATED, payload, sizeof payload);
}

static void __attribute__((noreturn)) create_failed(int status) {
    static char text[MESSAGE_MAX];
    runtime_message("runtime.log", stdio_parent[2], text, sizeof text);
    if (the.abort_wanted) give_up(STAGE_ABORTED, status, "stopped before the container was created");
    give_up(STAGE_CREATE, status, text[0] ? text : "the runtime gave no reason");
}

bool main_claim(pid_t pid) {
    if (the.runtime <= 0 || read_number_at(the.run_dir, "container.pid") != pid) return false;
    the.pid = pid;
    return true;
}

bool main_reaped(pid_t pid, struct exit_status s) {
    if (pid == the.runtime) {
        the.runtime = 0;
        if (the.pid == 0) the.pid = (pid_t)read_number_at(the.run_dir, "container.pid");
        if (s.code == 0 && the.pid > 0) return created(), true;
        the.status = s;
        not_created = true;
        return true;
    }
    if (pid != the.pid || exited) return false;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    the.exited_at_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    the.status = s;
    exited = true;
    return true;
}

// Exit

static void container_exited(void) {
    the.phase = PHASE_EXITED;
    the.oom_kill_count = oom_kills();
    // A killed child alone is not the container's end; a shell that passes its child's 137 on is.
    the.oom_killed = the.oom_kill_count > 0 && the.status.code == 128 + SIGKILL;
    stdio_finish();
    close_fd(&the.log.fd);
    loop_close(&the.pidfd);
}

static void leave(void) {
    the.phase = PHASE_ENDING;
    control_end();
    exec_kill_all();
    int64_t end = monotonic_ms() + LINGER_MS;
    while (!(exec_count() == 0 && control_idle()) && monotonic_ms() < end) loop_round(50);
    exit(0);
}

int main(int argc, char **argv) {
    set_up(argc, argv);
    create();
    for (;;) {
        int timeout = exec_timers();
        if (the.phase == PHASE_EXITED && (timeout < 0 || timeout > 1000)) timeout = 1000;
        loop_round(timeout);
        if (not_created) create_failed(the.status.code);
        if (the.abort_wanted && the.phase == PHASE_CREATING && the.runtime > 0) kill_tree(the.runtime, 0);
        if (exited && the.phase == PHASE_LIVE) container_exited();
        if (the.phase == PHASE_EXITED && exitfile_write()) leave();
    }
}
