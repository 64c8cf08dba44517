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

void exec_file(unsigned number, const char *what, char *buf, size_t cap) {
    snprintf(buf, cap, "exec-%u.%s", number, what);
}

static void exec_file_arg(struct runtime_argv *a, const char *option, unsigned number, const char *what) {
    char name[48];
    exec_file(number, what, name, sizeof name);
    runtime_arg(a, option);
    runtime_arg_path(a, name);
}

pid_t runtime_exec(unsigned number, bool tty, const int fds[3]) {
    struct runtime_argv a;
    char name[48], console[64];
    exec_file(number, "log", name, sizeof name);
    runtime_argv_begin(&a, name);
    runtime_arg(&a, "exec");
    runtime_arg(&a, "--detach");
    exec_file_arg(&a, "--process", number, "json");
    exec_file_arg(&a, "--pid-file", number, "pid");
    if (the.opt.sandboxed) exec_file_arg(&a, "--internal-pid-file", number, "inner");
    if (tty) {
        exec_file(number, "tty", name, sizeof name);
        snprintf(console, sizeof console, "/proc/%d/fd/%d/%s", getpid(), the.run_dir, name);
        runtime_arg(&a, "--console-socket");
        runtime_arg(&a, console);
    }
    runtime_arg(&a, the.opt.id);
    return runtime_spawn(&a, fds, exec_mark(number));
}

pid_t runtime_end_exec(long inner) {
    struct runtime_argv a;
    char text[24];
    const int nothing[3] = {-1, -1, -1};
    snprintf(text, sizeof text, "%ld", inner);
    runtime_argv_begin(&a, "end-exec.log");
    runtime_arg(&a, "end-exec");
    runtime_arg(&a, text);
    runtime_arg(&a, the.opt.id);
    return runtime_spawn(&a, nothing, 0);
}

void runtime_message(const char *log, int err, char *text, size_t cap) {
    if (read_tail_at(the.run_dir, log, text, cap) > 0 || err < 0) return;
    set_nonblock(err);
    size_t got = 0;
    for (ssize_t n; got + 1 < cap && (n = read(err, text + got, cap - 1 - got)) > 0;) got += (size_t)n;
    text[got] = 0;
}
