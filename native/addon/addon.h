// SPDX-License-Identifier: Apache-2.0
/**
 * What the addon's files share: an arena for argument copies, the error that looks like one of node:fs,
 * argument checks, jobs on the thread pool, and the watch of a pidfd on the event loop. No policy and no
 * mutable globals: all state hangs on the environment (EnvData), so the addon works in worker threads too.
 */
#ifndef GANTRY_ADDON_H
#define GANTRY_ADDON_H

#define NAPI_VERSION 9
#include <errno.h>
#include <limits.h>
#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

/** Raised together with `ABI` in src/host/native.ts. */
#define GANTRY_ABI 5

// Memory
typedef struct Chunk Chunk;
typedef struct {
    Chunk *head;
} Arena;

/** Zeroed memory that lives until arena_free; NULL when out of memory. */
void *arena_alloc(Arena *arena, size_t size);
void arena_free(Arena *arena);

// Errors
/** The first failure of a sequence: errno, the call, the path it was about, and what the kernel said besides.
 */
typedef struct {
    int err;
    const char *call;
    char path[PATH_MAX];
    char note[768];
} Fail;

/** Records errno unless a failure is already recorded; always returns false so that `return fail_set(...)`
 * reads well. */
bool fail_set(Fail *fail, const char *call, const char *path);
/** The same with an explicit error number. */
bool fail_code(Fail *fail, int err, const char *call, const char *path);
/** An Error with code, errno, syscall, path. */
napi_value fail_error(napi_env env, const Fail *fail);
/** `{code: 'EBUSY'}`, for one failure among many results; NULL without memory. */
napi_value fail_refusal(napi_env env, int err);
/** Throws it; returns NULL for `return`. */
napi_value fail_throw(napi_env env, const Fail *fail);
/** Throws errno at once. */
napi_value throw_errno(napi_env env, const char *call, const char *path);

// Arguments
enum { ARGS_MAX = 4 };

/** Sticky: after the first wrong argument a TypeError is pending, `failed` is set and all getters return
 * zero. */
typedef struct {
    napi_env env;
    const char *fn;
    Arena *arena;
    bool failed;
    napi_value v[ARGS_MAX];
} Args;

void args_begin(Args *args, napi_env env, napi_callback_info info, const char *fn, Arena *arena);
/** Throws the TypeError `fn: name must be want`. */
void args_fail(Args *args, const char *name, const char *want);
/** Member of an options object; NULL if undefined. */
napi_value args_member(Args *args, napi_value object, const char *name);
/** A string without NUL. */
char *args_string(Args *args, napi_value value, const char *name);
/** An absolute path shorter than PATH_MAX; trailing slashes are cut. */
char *args_path(Args *args, napi_value value, const char *name);
char *args_opt_string(Args *args, napi_value object, const char *name);
char *args_opt_path(Args *args, napi_value object, const char *name);
bool args_bool(Args *args, napi_value value, const char *name);
/** Optional boolean member, false if undefined. */
bool args_flag(Args *args, napi_value object, const char *name);
int64_t args_int(Args *args, napi_value value, const char *name, int64_t min, int64_t max);
/** Length of an array of at most `max` elements. */
uint32_t args_length(Args *args, napi_value value, const char *name, uint32_t max);
napi_value args_item(Args *args, napi_value array, uint32_t index);
/** NULL-terminated vector of strings (absolute paths if `paths`). */
char **args_strings(Args *args, napi_value value, const char *name, bool paths, uint32_t *count);
int *args_fds(Args *args, napi_value value, const char *name, int min, uint32_t *count);
void *args_buffer(Args *args, napi_value value, const char *name, size_t *length);

// Jobs
/** Work on the thread pool that settles a promise. First member of the struct of each member's arguments. */
typedef struct Job Job;
struct Job {
    napi_async_work work;
    napi_deferred deferred;
    /** Pool thread: no Node-API calls. False with `fail` set is a rejection. */
    bool (*run)(Job *job);
    /** Loop thread: the value; NULL for undefined. */
    napi_value (*result)(napi_env env, Job *job);
    Arena arena;
    Fail fail;
};

/** `size` bytes zeroed, starting with a Job; begins `args` with the job's arena. NULL with a pending
 * exception. */
void *job_new(Args *args, napi_env env, napi_callback_info info, const char *fn, size_t size);
/** Queues and returns the promise; with failed arguments a promise rejected with the TypeError. Owns the job.
 */
napi_value job_queue(Args *args, void *job, bool (*run)(Job *job));

/** Within `run`: calls `inside(job)` on a thread of its own with all signals blocked and waits for it. What
 * unshare and setns do there ends with the thread. False when there is no thread or a failure was recorded.
 */
bool job_on_thread(Job *job, void *(*inside)(void *job));

// Environment and watches
typedef struct Watch Watch;
typedef struct {
    napi_env env;
    uv_loop_t *loop;
    napi_async_cleanup_hook_handle hook;
    Watch *active;
    size_t open;
    bool closing;
} EnvData;

/** A readable-once watch of a descriptor it owns. */
struct Watch {
    uv_poll_t poll;
    EnvData *data;
    Watch *next, *prev;
    int fd;
    /** True when done: the watch is closed then. False: keep watching. */
    bool (*ready)(Watch *watch);
    /** Runs within a callback scope after the handle was told to close. */
    void (*deliver)(Watch *watch);
    napi_async_context context;
    napi_ref callback;
    napi_deferred deferred;
    pid_t pid;
    int code, signal;
};

bool env_begin(napi_env env);
EnvData *env_data(napi_env env);
/** A zeroed watch; NULL with errno. Takes `fd` only on success of watch_start. */
Watch *watch_new(EnvData *data, const char *name);
/** Starts polling. On failure returns a negative uv error, the watch is freed, `fd` stays the caller's. */
int watch_start(Watch *watch, int fd);
void watch_free(Watch *watch);

// Members (one table in addon.c)
#define MEMBER(name) napi_value name(napi_env env, napi_callback_info info)
MEMBER(gt_spawn);
MEMBER(gt_pidfd_open);
MEMBER(gt_pidfd_signal);
MEMBER(gt_pidfd_wait);
MEMBER(gt_pipe);
MEMBER(gt_socketpair);
MEMBER(gt_close);
MEMBER(gt_flock);
MEMBER(gt_peer_cred);
MEMBER(gt_send_fds);
MEMBER(gt_recv_fds);
MEMBER(gt_syncfs);
MEMBER(gt_create_namespaces);
MEMBER(gt_unpin_namespace);
MEMBER(gt_socket_in_netns);
MEMBER(gt_mount_overlay);
MEMBER(gt_bind);
MEMBER(gt_mount);
MEMBER(gt_umount);
MEMBER(gt_set_propagation);
MEMBER(gt_read_in_root);
MEMBER(gt_mkdir_in_root);
MEMBER(gt_read_many);
MEMBER(gt_read_groups);
MEMBER(gt_write_file);
MEMBER(gt_statfs);
MEMBER(gt_spread_folders);
MEMBER(gt_remove_tree);
MEMBER(gt_tree_usage);
MEMBER(gt_is_opaque);
MEMBER(gt_trim_memory);
MEMBER(gt_probe);
MEMBER(gt_notify);
MEMBER(gt_watch_loop);

#endif
