// SPDX-License-Identifier: Apache-2.0
// See runtime.h.
#include "runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void runtime_arg(struct runtime_argv *a, const char *text) {
    if (a->count < RUNTIME_ARGV_MAX - 1 && text)
        a->argv[a->count++] = text;
    else
        a->failed = true;
    a->argv[a->count] = NULL;
}

void runtime_arg_path(struct runtime_argv *a, const char *name) {
    size_t len = strlen(the.opt.run_dir) + strlen(name) + 2;
    char *path = malloc(len);
    if (path) {
        snprintf(path, len, "%s/%s", the.opt.run_dir, name);
        a->owned[a->owned_count++] = path;
    }
    runtime_arg(a, path);
}

void runtime_argv_begin(struct runtime_argv *a, const char *log) {
    memset(a, 0, sizeof *a);
    runtime_arg(a, the.opt.runtime);
    if (the.opt.runtime_root) {
        runtime_arg(a, "--root");
        runtime_arg(a, the.opt.runtime_root);
    }
    for (int i = 0; i < the.opt.runtime_arg_count; i++) runtime_arg(a, the.opt.runtime_args[i]);
    runtime_arg(a, "--log");
    runtime_arg_path(a, log);
    runtime_arg(a, "--log-format");
    runtime_arg(a, "json");
}

pid_t runtime_spawn(struct runtime_argv *a, const int fds[3], uint64_t mark) {
    struct launch l = {.argv = a->argv, .fds = {fds[0], fds[1], fds[2]}, .mark = mark};
    pid_t pid = -1;
    if (a->failed)
        errno = ENOMEM;
    else
        pid = child_spawn(&l);
    int saved = errno;
    for (int i = 0; i < a->owned_count; i++) free(a->owned[i]);
    errno = saved;
    return pid;
}

void runtime_message(const char *log, int err, char *text, size_t cap) {
    if (read_tail_at(the.run_dir, log, text, cap) > 0 || err < 0) return;
    set_nonblock(err);
    size_t got = 0;
    for (ssize_t n; got + 1 < cap && (n = read(err, text + got, cap - 1 - got)) > 0;) got += (size_t)n;
    text[got] = 0;
}
