// SPDX-License-Identifier: Apache-2.0
// Execs: one per connection. Owns the runtime that starts one, its process, its pipes or terminal, its
// deadline. Order of its end: process reaped, then its output sent as far as it had been written, then EXIT.
// An exec whose time is over or whose client is gone is killed with everything it started.
#include "monitor.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TTY_DRAIN (1024u * 1024u)

struct exec_out {
    struct source src;
    struct exec *exec;
    uint8_t type;
    bool paused;
    size_t left; // bytes still to be sent once the process has ended
};

struct exec {
    struct exec *next, **link;
    struct conn *conn; // NULL: the client is gone
    unsigned number;
    uint8_t flags;
    uint16_t cols, rows;
    pid_t runtime, pid;
    long inner;  // its pid in the kernel of a sandboxed container
    pid_t ender; // the runtime's helper that kills it there
    int console; // listening socket, while the runtime runs
    int slave;   // keeps the terminal open, or -1
    struct source pidfd;
    int64_t begun, deadline;
    bool timed_out, exited;
    struct exit_status status;
    struct exec_out out, err;
    struct sink in;
};

static struct exec *execs;
static unsigned count, next_number;

unsigned exec_count(void) { return count; }

static void remove_file(const struct exec *e, const char *what) {
    char name[48];
    exec_file(e->number, what, name, sizeof name);
    unlinkat(the.run_dir, name, 0);
}

static void remove_files(const struct exec *e) {
    for (const char *const *what = (const char *const[]){"json", "pid", "log", "tty", "inner", NULL}; *what;
         what++)
        remove_file(e, *what);
}

static void release(struct exec *e) {
    loop_close(&e->out.src);
    loop_close(&e->err.src);
    loop_close(&e->pidfd);
    sink_close(&e->in);
    close_fd(&e->console);
    close_fd(&e->slave);
    *e->link = e->next;
    if (e->next) e->next->link = e->link;
    count--;
    loop_free(e);
}

static void say_goodbye(struct exec *e) {
    if (e->conn) {
        conn_forget_exec(e->conn);
        conn_finish(e->conn);
        e->conn = NULL;
    }
    release(e);
}

static void fail(struct exec *e, int exit_status, const char *message) {
    send_failed(e->conn, STAGE_EXEC, exit_status, message);
    say_goodbye(e);
}

static void finish_if_done(struct exec *e) {
    if (!e->exited || e->runtime > 0 || e->ender > 0 || e->out.src.fd >= 0 || e->err.src.fd >= 0) return;
    uint8_t exit[EXIT_SIZE];
    encode_exit(exit, e->status.code, e->status.signal, e->timed_out);
    conn_send(e->conn, FRAME_EXIT, exit, sizeof exit);
    say_goodbye(e);
}

/** Reads until there is no more, or the client has enough to take. */
static void pump(struct exec_out *o, bool all) {
    struct exec *e = o->exec;
    bool tty = e->flags & FLAG_TTY;
    o->paused = false;
    if (e->exited && e->runtime > 0) { // how much is left is known when the runtime has ended
        loop_watch(&o->src, 0);
        return;
    }
    do {
        if (e->conn && conn_queued(e->conn) >= QUEUE_PAUSE) {
            o->paused = true;
            loop_watch(&o->src, 0);
            return;
        }
        size_t room = e->exited && o->left < CHUNK ? o->left : CHUNK;
        ssize_t n = room ? read(o->src.fd, chunk, room) : 0;
        if (n < 0 && errno == EINTR) continue;
        if (n > 0) {
            conn_send(e->conn, o->type, chunk, (size_t)n);
            if (e->exited) o->left -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN && !e->exited) {
            break;
        } else if (tty && !e->exited) { // EIO: no process has the terminal open at the moment
            loop_watch(&o->src, 0);
            return;
        } else {
            loop_close(&o->src);
            return;
        }
    } while (all);
    loop_watch(&o->src, EPOLLIN);
}

static void out_ready(struct source *src, uint32_t events) {
    struct exec_out *o = (struct exec_out *)src;
    pump(o, o->exec->exited);
    finish_if_done(o->exec);
}

void exec_resume(struct exec *e) {
    if (e->out.paused) pump(&e->out, e->exited);
    if (e->err.paused) pump(&e->err, e->exited);
    finish_if_done(e);
}

static void out_begin(struct exec *e, struct exec_out *o, int fd, uint8_t type) {
    *o = (struct exec_out){.src = {.fd = fd, .ready = out_ready}, .exec = e, .type = type};
    if (fd >= 0) set_nonblock(fd);
}

static void process_ended(struct exec *e, struct exit_status s) {
    e->status = s;
    e->exited = true;
    loop_close(&e->pidfd);
    if (e->runtime > 0) return; // told before its runtime: runtime_ended goes on
    struct exec_out *both[] = {&e->out, &e->err};
    for (int i = 0; i < 2; i++) {
        int waiting = 0;
        if (both[i]->src.fd < 0) continue;
        both[i]->left = TTY_DRAIN;
        // Bytes that a background process writes after this are not waited for.
        if (!(e->flags & FLAG_TTY) && ioctl(both[i]->src.fd, FIONREAD, &waiting) == 0)
            both[i]->left = (size_t)waiting;
        if (!both[i]->paused) pump(both[i], true);
    }
    finish_if_done(e);
}

static bool write_process(const struct exec *e, const struct exec_request *r) {
    char name[48];
    exec_file(e->number, "json", name, sizeof name);
    int fd = openat(the.run_dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return false;
    bool ok = write_all(fd, r->process, r->process_len);
    close(fd);
    return ok;
}

/** Makes what the process gets as stdio. `fds` are the child's ends. */
static bool make_stdio(struct exec *e, int fds[3]) {
    int in = -1, out = -1, err = -1;
    bool ok = true;
    bool tty = e->flags & FLAG_TTY;
    if (tty) {
        char name[48];
        exec_file(e->number, "tty", name, sizeof name);
        e->console = listen_at(the.run_dir, name, 1);
        ok = e->console >= 0;
    }
    if (ok && !tty && (e->flags & FLAG_STDIN)) ok = make_pipe(&fds[0], &in);
    if (ok && !tty && (e->flags & FLAG_STDOUT)) ok = make_pipe(&out, &fds[1]);
    if (ok && (tty || (e->flags & FLAG_STDERR)))
        ok = make_pipe(&err, &fds[2]); // a runtime may complain there
    if (tty && (e->flags & FLAG_STDIN))
        sink_hold(&e->in); // until the terminal is there
    else
        sink_open(&e->in, in);
    out_begin(e, &e->out, out, FRAME_STDOUT);
    out_begin(e, &e->err, err, FRAME_STDERR);
    return ok;
}

void exec_start(struct conn *c, const struct exec_request *r) {
    const char *refusal = the.phase != PHASE_LIVE ? "the container is not running"
                          : count >= MAX_EXECS    ? "too many execs at once in this container"
                                                  : NULL;
    struct exec *e = refusal ? NULL : calloc(1, sizeof *e);
    if (!e) {
        send_failed(c, STAGE_EXEC, -1, refusal ? refusal : "no memory");
        return conn_finish(c);
    }
    e->conn = c;
    e->number = ++next_number;
    e->flags = r->flags;
    e->cols = r->cols;
    e->rows = r->rows;
    e->console = e->slave = e->pidfd.fd = e->out.src.fd = e->err.src.fd = e->in.src.fd = -1;
    e->begun = monotonic_ms();
    e->deadline = r->timeout_ms ? e->begun + r->timeout_ms : 0;
    e->next = execs;
    e->link = &execs;
    if (execs) execs->link = &e->next;
    execs = e;
    count++;
    conn_set_exec(c, e);
    int fds[3] = {-1, -1, -1};
    remove_files(e);
    bool ok = make_stdio(e, fds) && write_process(e, r) &&
              (e->runtime = runtime_exec(e->number, e->flags & FLAG_TTY, fds)) > 0;
    int saved = errno;
    for (int i = 0; i < 3; i++) close_fd(&fds[i]);
    if (ok) {
        // What the process writes first need not wait for the end of the runtime that started it.
        if (!(e->flags & FLAG_TTY)) loop_watch(&e->out.src, EPOLLIN);
        return;
    }
    remove_files(e);
    char text[128];
    snprintf(text, sizeof text, "cannot start the runtime: %s", strerror(saved));
    fail(e, -1, text);
}

static void pidfd_ready(struct source *src, uint32_t events) {
    struct exec *e = (struct exec *)((char *)src - offsetof(struct exec, pidfd));
    pid_t pid = e->pid;
    child_reap(); // if it is our child, this tells it (and may free e)
    for (e = execs; e; e = e->next)
        if (e->pid == pid && !e->exited) return process_ended(e, (struct exit_status){255, 0});
}

static void begin_streams(struct exec *e) {
    if (e->flags & FLAG_TTY) {
        loop_close(&e->err.src);
        int master = take_console(e->console);
        close_fd(&e->console);
        out_begin(e, &e->out, master, FRAME_STDOUT);
        if (master >= 0 && e->cols) set_window(master, e->cols, e->rows);
        if (e->flags & FLAG_STDIN) sink_open(&e->in, master < 0 ? -1 : fcntl(master, F_DUPFD_CLOEXEC, 3));
        e->slave = hold_slave(master);
    }
    loop_watch(&e->out.src, EPOLLIN);
    loop_watch(&e->err.src, EPOLLIN);
}

/** The message of a runtime that failed: its log, else what it said on stderr. */
static void explain(struct exec *e, char *text, size_t cap) {
    char name[48];
    exec_file(e->number, "log", name, sizeof name);
    runtime_message(name, e->err.src.fd, text, cap);
}

/** What runs of it here; in a sandbox first what runs there, which the end of its stand-in would not end. */
static void kill_exec(struct exec *e) {
    if (e->exited || e->ender > 0 || (e->runtime > 0 && the.opt.sandboxed)) return;
    if (e->inner > 0 && (e->ender = runtime_end_exec(e->inner)) > 0) return;
    if (e->runtime > 0 || e->pid > 0) kill_tree(e->runtime > 0 ? e->runtime : e->pid, exec_mark(e->number));
}

static void ender_ended(struct exec *e) {
    e->ender = 0;
    e->inner = 0;
    kill_exec(e);
    finish_if_done(e);
}

static void runtime_ended(struct exec *e, struct exit_status s) {
    static char text[MESSAGE_MAX];
    char name[48];
    e->runtime = 0;
    exec_file(e->number, "pid", name, sizeof name);
    if (e->pid == 0) e->pid = (pid_t)read_number_at(the.run_dir, name);
    bool ok = s.code == 0 && e->pid > 0;
    exec_file(e->number, "inner", name, sizeof name);
    if (the.opt.sandboxed) e->inner = read_number_at(the.run_dir, name);
    if (!ok) explain(e, text, sizeof text);
    remove_files(e);
    if (!e->exited && e->pid > 0) e->exited = child_recall(e->pid, e->begun, &e->status);
    if (e->pid > 0 && (!ok || !e->conn || e->timed_out)) kill_exec(e);
    if (!ok) {
        if (e->timed_out) {
            e->exited = true;
            e->status = (struct exit_status){128 + SIGKILL, SIGKILL};
            loop_close(&e->out.src);
            loop_close(&e->err.src);
            return finish_if_done(e);
        }
        return fail(e, s.code, text);
    }
    if (!e->exited) weigh_as_container(e->pid); // runc sets the value of the container's start, not of now
    uint8_t pid[4];
    put_u32(pid, (uint32_t)e->pid);
    conn_send(e->conn, FRAME_STARTED, pid, sizeof pid);
    begin_streams(e);
    if (e->exited) return process_ended(e, e->status);
    e->pidfd = (struct source){.fd = pidfd_open_of(e->pid), .ready = pidfd_ready};
    if (e->pidfd.fd < 0) return process_ended(e, (struct exit_status){255, 0});
    loop_watch(&e->pidfd, EPOLLIN);
}

bool exec_reaped(pid_t pid, struct exit_status s) {
    for (struct exec *e = execs; e; e = e->next) {
        if (e->runtime == pid)
            runtime_ended(e, s);
        else if (e->ender == pid)
            ender_ended(e);
        else if (e->pid == pid && !e->exited)
            process_ended(e, s);
        else
            continue;
        return true;
    }
    return false;
}

bool exec_claim(pid_t pid) {
    for (struct exec *e = execs; e; e = e->next) {
        char name[48];
        exec_file(e->number, "pid", name, sizeof name);
        if (e->runtime == 0 || read_number_at(the.run_dir, name) != pid) continue;
        e->pid = pid;
        return true;
    }
    return false;
}

void exec_orphaned(struct exec *e) {
    e->conn = NULL;
    loop_close(&e->out.src);
    loop_close(&e->err.src);
    sink_close(&e->in);
    if (e->exited && e->runtime == 0) return release(e);
    kill_exec(e);
}

void exec_kill_all(void) {
    for (struct exec *e = execs; e; e = e->next) kill_exec(e);
}

int exec_timers(void) {
    int64_t now = monotonic_ms(), nearest = -1;
    for (struct exec *e = execs; e; e = e->next) {
        if (!e->deadline || e->timed_out || e->exited) continue;
        if (e->deadline <= now) {
            e->timed_out = true;
            kill_exec(e);
        } else if (nearest < 0 || e->deadline - now < nearest) {
            nearest = e->deadline - now;
        }
    }
    return nearest > 0x7fffffff ? 0x7fffffff : (int)nearest;
}

bool exec_frame(struct exec *e, uint8_t type, const uint8_t *payload, size_t len) {
    if (type == FRAME_STDIN && (e->flags & FLAG_STDIN)) return sink_write(&e->in, payload, len);
    if (type == FRAME_STDIN_EOF) {
        if (!(e->flags & FLAG_TTY)) sink_end(&e->in);
    } else if (type == FRAME_RESIZE && len == 4) {
        e->cols = get_u16(payload);
        e->rows = get_u16(payload + 2);
        if ((e->flags & FLAG_TTY) && e->out.src.fd >= 0) set_window(e->out.src.fd, e->cols, e->rows);
    } else if (type == FRAME_SIGNAL && len == 1 && payload[0] < NSIG) {
        if (e->pid > 0 && !e->exited) kill(e->pid, payload[0]);
    }
    return true;
}
