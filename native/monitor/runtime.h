// SPDX-License-Identifier: Apache-2.0
// The OCI runtime as the monitor calls it: global arguments, own log file below the run folder, and the
// message to pass on when it fails; and the command lines of execs.
#ifndef GANTRY_MONITOR_RUNTIME_H
#define GANTRY_MONITOR_RUNTIME_H

#include "monitor.h"

#define RUNTIME_ARGV_MAX (MAX_RUNTIME_ARGS + 24)

struct runtime_argv {
    const char *argv[RUNTIME_ARGV_MAX];
    char *owned[RUNTIME_ARGV_MAX];
    int count, owned_count;
    bool failed;
};

/** RUNTIME [--root R] [args] --log RUNDIR/<log> --log-format json */
void runtime_argv_begin(struct runtime_argv *a, const char *log);
/** The text must live until runtime_spawn. */
void runtime_arg(struct runtime_argv *a, const char *text);
/** RUNDIR/<name> */
void runtime_arg_path(struct runtime_argv *a, const char *name);
/** Runs it and frees the argument list; pid or -1 with errno. */
pid_t runtime_spawn(struct runtime_argv *a, const int fds[3], uint64_t mark);
/** The name of a scratch file of an exec below the run folder. */
void exec_file(unsigned number, const char *what, char *buf, size_t cap);
/** Starts the runtime's `exec` with the scratch files of this number. */
pid_t runtime_exec(unsigned number, bool tty, const int fds[3]);
/** Of a sandboxed container: the keeper kills that process, and what descends from it, where it runs. */
pid_t runtime_end_exec(long inner);
/** The tail of the log below the run folder, or (if that is empty) what is in the pipe `err`. Always
 * NUL-ended. */
void runtime_message(const char *log, int err, char *text, size_t cap);
#endif
