// SPDX-License-Identifier: Apache-2.0
/**
 * A thread that sees when the event loop stands still, and says so once while it does, with what was begun
 * last: nobody else can, because all the rest waits for the loop. It reads a counter that the loop raises and
 * writes one line to stderr; it never touches JavaScript, and ends with the environment.
 */
#include "addon.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/** A 32-bit counter, then a text. */
enum { TEXT_AT = 4, TEXT_MAX = 120, LINE_MAX_BYTES = 512 };

typedef struct {
    _Atomic uint32_t *count;
    const char *text;
    size_t text_size;
    int64_t limit_ms;
    bool json;
    int wake;
    pthread_t thread;
    napi_env env;
    napi_ref buffer;
} LoopWatch;

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/** The loop may stop in the middle of writing the text: what is no name in it is not passed on. */
static void copy_text(const LoopWatch *watch, char *to) {
    size_t n = 0;
    for (; n < watch->text_size && n < TEXT_MAX; n++) {
        char c = watch->text[n];
        if (!c) break;
        bool name =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-.:_", c);
        to[n] = name ? c : '_';
    }
    to[n] = 0;
}

static void tell(const LoopWatch *watch, int64_t ms) {
    char line[LINE_MAX_BYTES], at[40], text[TEXT_MAX + 1];
    struct timespec t;
    struct tm tm;
    copy_text(watch, text);
    clock_gettime(CLOCK_REALTIME, &t);
    size_t n = strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", gmtime_r(&t.tv_sec, &tm));
    snprintf(at + n, sizeof at - n, ".%03dZ", (int)(t.tv_nsec / 1000000));
    const char *form = watch->json
                           ? "{\"level\":\"warn\",\"time\":\"%s\",\"ms\":%lld,\"last\":\"%s\",\"msg\":"
                             "\"event-loop-blocked\"}\n"
                           : "%s WARN  event-loop-blocked ms=%lld last=%s\n";
    int length = snprintf(line, sizeof line, form, at, (long long)ms, text);
    // One write, so that it cannot come into the middle of another line; nothing can be done if it fails.
    if (write(STDERR_FILENO, line, (size_t)length) < 0) return;
}

static void *watch_loop(void *data) {
    LoopWatch *watch = data;
    const int period = (int)(watch->limit_ms / 3);
    uint32_t last = atomic_load(watch->count);
    int64_t since = now_ms();
    bool told = false;
    for (;;) {
        struct pollfd wake = {.fd = watch->wake, .events = POLLIN};
        int64_t before = now_ms();
        if (poll(&wake, 1, period) > 0) return NULL;
        int64_t at = now_ms();
        uint32_t count = atomic_load(watch->count);
        // Late ourselves: the whole process was stopped, which says nothing about the loop.
        bool stopped = at - before > 2 * (int64_t)period;
        if (count != last || stopped) {
            last = count;
            since = at;
            told = false;
        } else if (!told && at - since >= watch->limit_ms) {
            told = true;
            tell(watch, at - since);
        }
    }
}

static void end_watch(void *data) {
    LoopWatch *watch = data;
    if (eventfd_write(watch->wake, 1) == 0) pthread_join(watch->thread, NULL);
    close(watch->wake);
    napi_delete_reference(watch->env, watch->buffer);
    free(watch);
}

static int start(LoopWatch *watch) {
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 128 * 1024);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int err = pthread_create(&watch->thread, &attr, watch_loop, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    return err;
}

MEMBER(gt_watch_loop) {
    Args args;
    size_t size = 0;
    args_begin(&args, env, info, "watchLoop", NULL);
    char *data = args_buffer(&args, args.v[0], "beat", &size);
    int64_t limit = args_int(&args, args.v[1], "limitMs", 30, 3600000);
    bool json = args_bool(&args, args.v[2], "json");
    if (data && (size <= TEXT_AT || (uintptr_t)data % _Alignof(uint32_t) != 0))
        args_fail(&args, "beat", "an aligned Buffer of more than 4 bytes");
    if (args.failed) return NULL;
    LoopWatch *watch = calloc(1, sizeof *watch);
    if (!watch) return throw_errno(env, "calloc", NULL);
    *watch = (LoopWatch){.count = (_Atomic uint32_t *)(void *)data,
                         .text = data + TEXT_AT,
                         .text_size = size - TEXT_AT,
                         .limit_ms = limit,
                         .json = json,
                         .env = env,
                         .wake = eventfd(0, EFD_CLOEXEC)};
    if (watch->wake < 0) {
        free(watch);
        return throw_errno(env, "eventfd", NULL);
    }
    napi_create_reference(env, args.v[0], 1, &watch->buffer);
    errno = start(watch);
    if (errno != 0) {
        napi_value error = throw_errno(env, "pthread_create", NULL);
        napi_delete_reference(env, watch->buffer);
        close(watch->wake);
        free(watch);
        return error;
    }
    napi_add_env_cleanup_hook(env, end_watch, watch);
    return NULL;
}
