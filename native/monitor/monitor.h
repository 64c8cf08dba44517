// SPDX-License-Identifier: Apache-2.0
// The one container that a monitor process watches, and what its files ask of each other. There is exactly
// one `struct monitor the`, because a monitor is one process for one container.
#ifndef GANTRY_MONITOR_H
#define GANTRY_MONITOR_H

#include "../shared/frame.h"
#include "../shared/io.h"
#include "crilog.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MAX_OOM_FILES    4
#define MAX_RUNTIME_ARGS 64
#define MAX_CONNS        256
#define MAX_EXECS        128
#define QUEUE_PAUSE      (256u * 1024u) // an exec's pipes are not read while its client has this much to take
#define QUEUE_DROP       (1024u * 1024u) // a client this far behind is dropped
#define MESSAGE_MAX      8192u           // of a failed runtime
#define CHUNK            (64u * 1024u)

// Options (options.c)
struct options {
    const char *id, *runtime, *runtime_root, *bundle, *log, *run_dir, *exit_file, *cgroup_procs, *stdio_owner;
    const char *runtime_args[MAX_RUNTIME_ARGS];
    int runtime_arg_count;
    char *oom_path[MAX_OOM_FILES]; // "PATH\0" of PATH:KEY
    const char *oom_key[MAX_OOM_FILES];
    int oom_count;
    bool tty, stdin_open, stdin_once;
    bool sandboxed; // the runtime is gantry-keeper: processes are in another kernel
};
/** NULL on success, else a sentence. */
const char *options_parse(int argc, char **argv, struct options *o);

// Event loop (loop.c)
/** One descriptor in the loop. `ready` may free its owner only through loop_free. */
struct source {
    int fd;
    uint32_t events; // 0: not in the epoll set
    bool watched;
    void (*ready)(struct source *, uint32_t events);
};
bool loop_init(void);
/** Wants exactly these events from now on; 0 takes the descriptor out. */
bool loop_watch(struct source *s, uint32_t events);
/** Out of the loop and closed. Pending events of this round are not delivered. */
void loop_close(struct source *s);
/** Frees `p` after this round of events. */
void loop_free(void *p);
void loop_round(int timeout_ms);

// Programs and reaping (child.c)
struct exit_status {
    int code; // 128 + signal for signals
    int signal;
};
struct launch {
    const char *const *argv;
    int fds[3];    // stdin, stdout, stderr; -1 is /dev/null
    uint64_t mark; // of an exec, which also gets the container's oom_score_adj; 0: none
};
/** Runs a program with every signal disposition and the mask reset and the original oom_score_adj. pid or -1.
 */
pid_t child_spawn(const struct launch *l);
/** Reaps everything that has ended and tells whom it concerns. */
void child_reap(void);
/** How a process ended that was reaped since `since_ms` before anyone knew whose it was. */
bool child_recall(pid_t pid, int64_t since_ms, struct exit_status *status);
/** SIGKILLs every child that is left and reaps for at most `ms`. */
void child_clear(int ms);
int pidfd_open_of(pid_t pid);
uint64_t start_ticks_of(pid_t pid);
/** Gives a process the container's oom_score_adj: as likely to be killed for lack of memory. */
void weigh_as_container(pid_t pid);
/** Fields of /proc/PID/stat after the command name: ppid (1), session (3), start time (19). */
bool read_stat(pid_t pid, long *ppid, long *session, unsigned long long *start);

// Trees of processes (tree.c)
/** What no other exec of this machine has, and never 0: the monitor, its container's time of start, and a
 * count. */
uint64_t exec_mark(unsigned number);
/** Marks this process and all that it will start. */
void put_mark(uint64_t mark);
/** Stops, then kills `root`, its descendants, and with a mark everything in the session it leads or that has
 * the mark. Returns when they are dead, or after a moment that is too short to be missed. */
void kill_tree(pid_t root, uint64_t mark);

// Container stdio (stdio.c)
struct conn;
/** Bytes on their way into a pipe or terminal. */
struct sink {
    struct source src;
    uint8_t *data;
    size_t off, len;
    bool close_when_empty;
    bool held; // there is no descriptor yet: bytes wait for it
};
/** Bytes wait until sink_open. */
void sink_hold(struct sink *s);
/** Starts on a descriptor (-1: nobody reads; bytes are dropped). What was held goes first. */
void sink_open(struct sink *s, int fd);
/** Takes a copy. false: the queue is full now, the giver should pause until the sink calls conns_resume. */
bool sink_write(struct sink *s, const uint8_t *data, size_t len);
void sink_end(struct sink *s);
void sink_close(struct sink *s);

/** Starts reading the container's output: stdout and stderr pipes, or a terminal's master. */
void stdio_begin(int out, int err, int in, int master);
/** What the dead process left in its pipes, then the unfinished lines. */
void stdio_finish(void);
bool make_pipe(int *read_end, int *write_end);
void set_nonblock(int fd);
void set_window(int fd, uint16_t cols, uint16_t rows);
/** Keeps a terminal from hanging up while no process has it open. -1 where the kernel cannot. */
int hold_slave(int master);
/** The terminal that a runtime has sent to this socket by now, or -1. */
int take_console(int listening);

// Execs (exec.c)
struct exec;
/** Starts the runtime for an exec of this connection, or answers FAILED. */
void exec_start(struct conn *c, const struct exec_request *r);
/** A frame on an exec's connection. false: the connection should pause. */
bool exec_frame(struct exec *e, uint8_t type, const uint8_t *payload, size_t len);
/** The connection of this exec is gone. */
void exec_orphaned(struct exec *e);
/** The connection's queue went below QUEUE_PAUSE. */
void exec_resume(struct exec *e);
/** A reaped child: true if it belonged to an exec. */
bool exec_reaped(pid_t pid, struct exit_status s);
/** Asked before an unknown child is forgotten: does a runtime in flight name it in its pid file? */
bool exec_claim(pid_t pid);
void exec_kill_all(void);
unsigned exec_count(void);
/** Milliseconds to the nearest deadline, -1 without one; runs those that are over. */
int exec_timers(void);

// Control socket (control.c)
bool control_listen(void);
/** Adopts a connected socket (the parent's). */
struct conn *control_adopt(int fd);
void conn_send(struct conn *c, uint8_t type, const void *data, size_t len);
size_t conn_queued(const struct conn *c);
/** Closes after what is queued has been taken. */
void conn_finish(struct conn *c);
/** FAILED{stage, exit status, message} */
void send_failed(struct conn *c, uint8_t stage, int exit_status, const char *message);
/** The connection belongs to this exec from now on. */
void conn_set_exec(struct conn *c, struct exec *e);
/** The exec of this connection is over. */
void conn_forget_exec(struct conn *c);
/** Connections that were paused for a full stdin read on. */
void conns_resume(struct sink *s);
void conns_output(uint8_t type, const void *data, size_t len);
/** The container has exited: EXIT to the attached, goodbye to the watchers, no new connections. */
void control_end(void);
bool control_idle(void);

// Exit (exitfile.c, oom.c)
void oom_begin(void);
uint64_t oom_kills(void);
/** Writes exit.json, or the same into the run folder when the first place refuses. */
bool exitfile_write(void);

// main.c
enum phase { PHASE_CREATING, PHASE_LIVE, PHASE_EXITED, PHASE_ENDING };

struct monitor {
    struct options opt;
    enum phase phase;
    int run_dir; // O_PATH descriptor of --run-dir
    char oom_score_adj[16];
    struct conn *parent;
    bool abort_wanted;

    pid_t runtime; // `runtime create` while it runs
    pid_t pid;
    uint64_t start_ticks;
    struct source pidfd;

    struct crilog log;
    struct crilog_stream out_lines, err_lines;
    struct source out, err;
    struct sink in;
    int master, slave; // terminal of the container, or -1

    struct exit_status status;
    int64_t exited_at_ns;
    bool oom_killed;
    uint64_t oom_kill_count;
};
extern struct monitor the;
extern uint8_t chunk[CHUNK];

/** The runtime or the container's process has ended. */
bool main_reaped(pid_t pid, struct exit_status s);
bool main_claim(pid_t pid);
/** Into monitor.log of the run folder, bounded. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
