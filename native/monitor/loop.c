// SPDX-License-Identifier: Apache-2.0
// The epoll loop. Owns which descriptors are watched and the memory that callbacks give up during a round.
#include "monitor.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define ROUND 32

static int epoll_fd = -1;
static struct epoll_event events[ROUND];
static int event_count;

// Freed after the round; never more than all connections and all execs at once.
static void *given_up[MAX_CONNS + MAX_EXECS];
static size_t given_up_count;

bool loop_init(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    return epoll_fd >= 0;
}

bool loop_watch(struct source *s, uint32_t wanted) {
    if (s->fd < 0) return false;
    struct epoll_event ev = {.events = wanted, .data.ptr = s};
    if (wanted == 0) {
        if (s->watched) epoll_ctl(epoll_fd, EPOLL_CTL_DEL, s->fd, NULL);
        s->watched = false;
    } else if (!s->watched || s->events != wanted) {
        if (epoll_ctl(epoll_fd, s->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, s->fd, &ev) < 0) return false;
        s->watched = true;
    }
    s->events = wanted;
    return true;
}

void loop_close(struct source *s) {
    loop_watch(s, 0);
    close_fd(&s->fd);
    for (int i = 0; i < event_count; i++)
        if (events[i].data.ptr == s) events[i].data.ptr = NULL;
}

void loop_free(void *p) {
    if (given_up_count < sizeof given_up / sizeof *given_up) given_up[given_up_count++] = p;
}

void loop_round(int timeout_ms) {
    int n = epoll_wait(epoll_fd, events, ROUND, timeout_ms);
    event_count = n > 0 ? n : 0;
    for (int i = 0; i < event_count; i++) {
        struct source *s = events[i].data.ptr;
        if (s && s->watched) s->ready(s, events[i].events);
    }
    event_count = 0;
    while (given_up_count > 0) free(given_up[--given_up_count]);
}
