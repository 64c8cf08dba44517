// SPDX-License-Identifier: Apache-2.0
// Connections: the parent's and those of ctl.sock. Owns their frames in, their queues out and what a
// connection has become (plain, attached, an exec's). A connection is only freed in its own callback;
// elsewhere it is shut down and the loop brings it here. A client that does not read is dropped, never waited
// for.
#include "monitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum verdict { GO_ON, PAUSE, DROP };

struct conn {
    struct source src;
    struct conn *next, **link;
    struct frame_reader in;
    uint8_t *queue;
    size_t off, len, cap;
    struct exec *exec;
    uint8_t attach; // stream flags
    bool attached, finishing, shut, paused, hung_up;
};

static struct conn *conns;
static unsigned conn_count;
static struct source listener = {.fd = -1};

static void want(struct conn *c) {
    uint32_t events = c->len > c->off ? EPOLLOUT : 0;
    if (!c->paused)
        events |= EPOLLIN | EPOLLRDHUP;
    else if (c->exec)
        events |= EPOLLRDHUP; // an exec dies with its client even while its stdin is full
    if (c->paused && c->hung_up) events = 0;
    loop_watch(&c->src, events);
}

/** No more can be sent to this client; the loop will report it and conn_ready frees it. */
static void break_off(struct conn *c) {
    free(c->queue);
    c->queue = NULL;
    c->off = c->len = c->cap = 0;
    c->finishing = true;
    c->shut = true;
    c->paused = false;
    shutdown(c->src.fd, SHUT_RDWR);
    want(c);
}

/** An attached client feeds stdin no more. A terminal outlives its clients. */
static void fed(void) {
    if (the.opt.stdin_once && !the.opt.tty) sink_end(&the.in);
}

static void drop(struct conn *c) {
    if (c->exec) exec_orphaned(c->exec);
    if (c->attached && (c->attach & FLAG_STDIN)) fed();
    *c->link = c->next;
    if (c->next) c->next->link = c->link;
    conn_count--;
    if (the.parent == c) the.parent = NULL;
    loop_close(&c->src);
    frame_reset(&c->in);
    free(c->queue);
    c->queue = NULL;
    loop_free(c);
}

size_t conn_queued(const struct conn *c) { return c->len - c->off; }

/** Sends what is queued as far as the socket takes it. */
static void push_queue(struct conn *c) {
    while (c->off < c->len) {
        ssize_t n = send(c->src.fd, c->queue + c->off, c->len - c->off, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EAGAIN) return want(c);
        if (n < 0) return break_off(c);
        c->off += (size_t)n;
    }
    free(c->queue);
    c->queue = NULL;
    c->off = c->len = c->cap = 0;
    if (c->finishing && !c->shut) {
        shutdown(c->src.fd, SHUT_WR); // the client closes; until then what it sends is read and thrown away
        c->shut = true;
    }
    want(c);
}

static bool append(struct conn *c, const void *data, size_t len) {
    if (c->off > 0) {
        memmove(c->queue, c->queue + c->off, c->len - c->off);
        c->len -= c->off;
        c->off = 0;
    }
    if (c->len + len > c->cap) {
        size_t cap = c->cap ? c->cap : 512;
        while (cap < c->len + len) cap *= 2;
        uint8_t *queue = realloc(c->queue, cap);
        if (!queue) return false;
        c->queue = queue;
        c->cap = cap;
    }
    memcpy(c->queue + c->len, data, len);
    c->len += len;
    return true;
}

void conn_send(struct conn *c, uint8_t type, const void *data, size_t len) {
    if (!c || c->finishing) return;
    uint8_t header[FRAME_HEADER];
    frame_header(header, type, (uint32_t)len);
    if (conn_queued(c) + len > QUEUE_DROP || !append(c, header, sizeof header) || !append(c, data, len))
        return break_off(c);
    push_queue(c);
}

static void send_text(struct conn *c, uint8_t type, const char *text) {
    conn_send(c, type, text, strlen(text));
}

void conn_finish(struct conn *c) {
    c->finishing = true;
    c->attached = false;
    c->paused = false;
    push_queue(c);
}

void send_failed(struct conn *c, uint8_t stage, int exit_status, const char *message) {
    uint8_t payload[FAILED_FIXED + MESSAGE_MAX];
    size_t len = strlen(message);
    if (len > MESSAGE_MAX) len = MESSAGE_MAX;
    payload[0] = stage;
    put_u32(payload + 1, (uint32_t)exit_status);
    memcpy(payload + FAILED_FIXED, message, len);
    conn_send(c, FRAME_FAILED, payload, FAILED_FIXED + len);
}

void conn_set_exec(struct conn *c, struct exec *e) { c->exec = e; }

void conn_forget_exec(struct conn *c) {
    c->exec = NULL;
    c->paused = false;
}

void conns_resume(struct sink *s) {
    for (struct conn *c = conns; c; c = c->next) {
        if (!c->paused) continue;
        c->paused = false; // whichever sink it waited for: at worst it pauses again at once
        want(c);
    }
}

void conns_output(uint8_t type, const void *data, size_t len) {
    uint8_t flag = type == FRAME_STDERR ? FLAG_STDERR : FLAG_STDOUT;
    for (struct conn *c = conns; c; c = c->next)
        if (c->attached && (c->attach & flag)) conn_send(c, type, data, len);
}

// Requests

static void answer_status(struct conn *c) {
    uint8_t payload[STATUS_SIZE];
    struct status_info s = {
        .state = the.phase == PHASE_CREATING ? 0
                 : the.phase == PHASE_LIVE   ? 1
                                             : 2,
        .pid = the.pid,
        .start_ticks = the.start_ticks,
        .dropped_lines = the.log.dropped_lines,
        .dropped_bytes = the.log.dropped_bytes,
        .execs = exec_count(),
        .code = the.status.code,
        .signal = the.status.signal,
    };
    encode_status(payload, &s);
    conn_send(c, FRAME_STATUS, payload, sizeof payload);
}

static void reopen_log(struct conn *c) {
    int e = crilog_open(&the.log);
    if (e == 0) return conn_send(c, FRAME_OK, "", 0);
    char text[256];
    snprintf(text, sizeof text, "cannot open the log: %s", strerror(-e));
    send_text(c, FRAME_ERROR, text);
}

static enum verdict begin_attach(struct conn *c, const struct frame_reader *f) {
    if (f->len != 1 || (f->payload[0] & ~(FLAG_STDIN | FLAG_STDOUT | FLAG_STDERR))) return DROP;
    if (the.phase != PHASE_LIVE) {
        send_text(c, FRAME_ERROR, "the container is not running");
        return GO_ON;
    }
    conn_send(c, FRAME_OK, "", 0);
    c->attach = f->payload[0];
    c->attached = true;
    return GO_ON;
}

static enum verdict begin_exec(struct conn *c, const struct frame_reader *f) {
    struct exec_request r;
    if (!decode_exec(f->payload, f->len, &r)) return DROP;
    exec_start(c, &r);
    return GO_ON;
}

static enum verdict plain_frame(struct conn *c, const struct frame_reader *f) {
    char text[64];
    switch (f->type) {
    case FRAME_STATUS_GET:
        answer_status(c);
        return GO_ON;
    case FRAME_REOPEN_LOG:
        reopen_log(c);
        return GO_ON;
    case FRAME_RESIZE:
        if (f->len != 4) return DROP;
        if (the.master >= 0) set_window(the.master, get_u16(f->payload), get_u16(f->payload + 2));
        return GO_ON;
    case FRAME_ATTACH:
        return begin_attach(c, f);
    case FRAME_EXEC:
        return begin_exec(c, f);
    default:
        snprintf(text, sizeof text, "frame type 0x%02x has no meaning here", f->type);
        send_text(c, FRAME_ERROR, text);
        conn_finish(c);
        return GO_ON;
    }
}

static enum verdict attach_frame(struct conn *c, const struct frame_reader *f) {
    switch (f->type) {
    case FRAME_STDIN:
        if (!(c->attach & FLAG_STDIN)) return DROP;
        return sink_write(&the.in, f->payload, f->len) ? GO_ON : PAUSE;
    case FRAME_STDIN_EOF:
        if (!(c->attach & FLAG_STDIN)) return DROP;
        c->attach &= (uint8_t)~FLAG_STDIN;
        fed();
        return GO_ON;
    case FRAME_RESIZE:
        return plain_frame(c, f);
    default:
        return DROP;
    }
}

static enum verdict handle(struct conn *c, const struct frame_reader *f) {
    if (c->finishing) return GO_ON;
    if (c->exec) return exec_frame(c->exec, f->type, f->payload, f->len) ? GO_ON : PAUSE;
    return c->attached ? attach_frame(c, f) : plain_frame(c, f);
}

/** Reads some frames. false: the connection is over. */
static bool read_frames(struct conn *c) {
    for (int i = 0; i < 32 && !c->paused; i++) {
        uint8_t *where;
        size_t wanted = frame_want(&c->in, &where);
        ssize_t n = recv(c->src.fd, where, wanted, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
        if (n <= 0) return false;
        int state = frame_advance(&c->in, (size_t)n);
        if (state < 0) return false;
        if (state == 0) continue;
        enum verdict v = handle(c, &c->in);
        frame_reset(&c->in);
        if (v == DROP) return false;
        if (v == PAUSE) c->paused = true;
    }
    return true;
}

static void conn_ready(struct source *src, uint32_t events) {
    struct conn *c = (struct conn *)src;
    if (events & EPOLLOUT) {
        push_queue(c);
        if (c->exec && conn_queued(c) < QUEUE_PAUSE) exec_resume(c->exec);
    }
    if (c->paused && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))) {
        if (c->exec) return drop(c);
        c->hung_up = true; // what it sent before is still to be read, when there is room
    }
    if (!c->paused && (events & ~(uint32_t)EPOLLOUT) && !read_frames(c)) return drop(c);
    want(c);
}

// The socket

struct conn *control_adopt(int fd) {
    struct conn *c = calloc(1, sizeof *c);
    if (!c || conn_count >= MAX_CONNS) {
        free(c);
        close(fd);
        return NULL;
    }
    c->src = (struct source){.fd = fd, .ready = conn_ready};
    c->next = conns;
    c->link = &conns;
    if (conns) conns->link = &c->next;
    conns = c;
    conn_count++;
    want(c);
    return c;
}

static void accept_ready(struct source *src, uint32_t events) {
    for (int i = 0; i < 64; i++) { // connections that come at once must not run into a full backlog
        int fd = accept4(src->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) return;
        struct ucred peer;
        socklen_t len = sizeof peer;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0)
            close(fd);
        else
            control_adopt(fd);
    }
}

bool control_listen(void) {
    listener.fd = listen_at(the.run_dir, "ctl.sock", 1024);
    listener.ready = accept_ready;
    return listener.fd >= 0 && loop_watch(&listener, EPOLLIN);
}

void control_end(void) {
    uint8_t exit[EXIT_SIZE];
    encode_exit(exit, the.status.code, the.status.signal, false);
    loop_close(&listener);
    unlinkat(the.run_dir, "ctl.sock", 0);
    for (struct conn *c = conns; c; c = c->next) {
        if (c->attached) conn_send(c, FRAME_EXIT, exit, sizeof exit);
        if (!c->exec && !c->finishing) conn_finish(c);
    }
}

bool control_idle(void) { return conns == NULL; }
