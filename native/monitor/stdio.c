// SPDX-License-Identifier: Apache-2.0
// The container's own stdio: reads its output into the log and to attached clients, and feeds its stdin. A
// sink is the way into any stdin (the container's or an exec's). Nothing here lets a slow client block the
// container.
#include "monitor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SINK_FULL (64u * 1024u)
#define DRAIN_MAX (1024u * 1024u + 64u * 1024u)

// In a user namespace a program can open /dev/stdout, and the runtime can give it away, only if it is of an
// id that is mapped there.
static bool give_away(int pipe_end) {
    unsigned uid, gid;
    if (!the.opt.stdio_owner) return true;
    if (sscanf(the.opt.stdio_owner, "%u:%u", &uid, &gid) == 2) return fchown(pipe_end, uid, gid) == 0;
    errno = EINVAL;
    return false;
}

bool make_pipe(int *read_end, int *write_end) {
    int p[2];
    if (pipe2(p, O_CLOEXEC) < 0) return false;
    if (!give_away(p[0])) {
        close(p[0]);
        close(p[1]);
        return false;
    }
    *read_end = p[0];
    *write_end = p[1];
    return true;
}

void set_nonblock(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

void set_window(int fd, uint16_t cols, uint16_t rows) {
    struct winsize w = {.ws_col = cols, .ws_row = rows};
    ioctl(fd, TIOCSWINSZ, &w);
}

int hold_slave(int master) {
    return master < 0 ? -1 : ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
}

// Sinks

static void sink_drop_data(struct sink *s) {
    free(s->data);
    s->data = NULL;
    s->off = s->len = 0;
}

void sink_close(struct sink *s) {
    sink_drop_data(s);
    s->held = false;
    loop_close(&s->src);
    conns_resume(s);
}

static void sink_push(struct sink *s) {
    while (s->off < s->len) {
        ssize_t n = write(s->src.fd, s->data + s->off, s->len - s->off);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) {
            loop_watch(&s->src, EPOLLOUT);
            return;
        }
        if (n < 0) { // nobody reads it any more
            sink_close(s);
            return;
        }
        s->off += (size_t)n;
    }
    sink_drop_data(s);
    loop_watch(&s->src, 0);
    if (s->close_when_empty)
        sink_close(s);
    else
        conns_resume(s);
}

static void sink_ready(struct source *src, uint32_t events) { sink_push((struct sink *)src); }

void sink_hold(struct sink *s) { *s = (struct sink){.src = {.fd = -1, .ready = sink_ready}, .held = true}; }

void sink_open(struct sink *s, int fd) {
    bool held = s->held;
    if (!held) *s = (struct sink){0};
    s->src = (struct source){.fd = fd, .ready = sink_ready};
    s->held = false;
    if (fd >= 0) set_nonblock(fd);
    if (held && fd >= 0)
        sink_push(s);
    else if (held)
        sink_close(s);
}

bool sink_write(struct sink *s, const uint8_t *data, size_t len) {
    if ((s->src.fd < 0 && !s->held) || s->close_when_empty || len == 0) return true; // nobody reads: dropped
    uint8_t *grown = malloc(s->len - s->off + len);
    if (!grown) {
        complain("no memory for %zu bytes of stdin: dropped", len);
        return true;
    }
    size_t old = s->len - s->off;
    if (old) memcpy(grown, s->data + s->off, old);
    memcpy(grown + old, data, len);
    free(s->data);
    s->data = grown;
    s->off = 0;
    s->len = old + len;
    if (!s->held) sink_push(s);
    return s->len - s->off < SINK_FULL;
}

void sink_end(struct sink *s) {
    if (s->src.fd < 0) return;
    if (s->len > s->off)
        s->close_when_empty = true;
    else
        sink_close(s);
}

// The container's output

static void take(struct source *src, size_t n) {
    bool err = src == &the.err;
    crilog_feed(&the.log, err ? &the.err_lines : &the.out_lines, (char *)chunk, n);
    conns_output(err ? FRAME_STDERR : FRAME_STDOUT, chunk, n);
}

/** One read. false: nothing more now (`*ended` if nothing ever). */
static bool read_some(struct source *src, size_t limit, size_t *got, bool *ended) {
    *got = 0;
    ssize_t n = read(src->fd, chunk, limit < CHUNK ? limit : CHUNK);
    if (n < 0 && errno == EINTR) return true;
    if (n < 0 && errno == EAGAIN) return false;
    if (n <= 0) { // end of file; EIO is a terminal's way to say it
        *ended = true;
        return false;
    }
    *got = (size_t)n;
    take(src, (size_t)n);
    return true;
}

static void output_ended(struct source *src) {
    bool err = src == &the.err;
    crilog_finish(&the.log, err ? &the.err_lines : &the.out_lines);
    loop_close(src);
}

static void output_ready(struct source *src, uint32_t events) {
    bool ended = false;
    size_t got;
    read_some(src, CHUNK, &got, &ended);
    // A terminal answers EIO while no process has it open, which another process may still do.
    if (ended && the.master >= 0 && the.phase == PHASE_LIVE)
        loop_watch(src, 0);
    else if (ended)
        output_ended(src);
}

void stdio_begin(int out, int err, int in, int master) {
    the.master = master;
    the.slave = hold_slave(master);
    the.out = (struct source){.fd = master >= 0 ? master : out, .ready = output_ready};
    the.err = (struct source){.fd = err, .ready = output_ready};
    struct source *both[] = {&the.out, &the.err};
    for (int i = 0; i < 2; i++) {
        if (both[i]->fd < 0) continue;
        set_nonblock(both[i]->fd);
        loop_watch(both[i], EPOLLIN);
    }
    if (master >= 0 && the.opt.stdin_open) in = fcntl(master, F_DUPFD_CLOEXEC, 3);
    sink_open(&the.in, in);
}

static void drain(struct source *src) {
    if (src->fd < 0) return;
    int waiting = 0;
    size_t left = DRAIN_MAX;
    // What the dead process wrote is in the pipe now; what others write after this is not waited for.
    if (the.master < 0 && ioctl(src->fd, FIONREAD, &waiting) == 0) left = (size_t)waiting;
    bool ended = false;
    for (size_t got; left > 0 && read_some(src, left, &got, &ended); left -= got) continue;
    output_ended(src);
}

void stdio_finish(void) {
    drain(&the.out);
    drain(&the.err);
    the.master = -1;
    close_fd(&the.slave);
    sink_close(&the.in);
}

int take_console(int listening) {
    int sock = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    int master = sock >= 0 ? recv_fd(sock) : -1;
    close_fd(&sock);
    return master;
}
