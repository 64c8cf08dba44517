// SPDX-License-Identifier: Apache-2.0
/**
 * Many small kernel files in one call, by groups (a container, a pod), on threads that may hang. A read of a
 * cgroup file cannot be interrupted, so what is stuck in the kernel is left to its thread: another one goes
 * on with the rest, the call ends without that group, and as long as the read is on its way later
 * calls pass the group over. What a late thread brings is thrown away. The list of reads on their way is the
 * process's, as they are.
 */
#include "addon.h"
#include "kernel.h"
#include "reading.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/** TEXT_ROOM: of one text, and what follows is aligned for messages of the kernel. */
enum { GROUPS_MAX = 1 << 16, WORKERS_MAX = 32, TEXT_ROOM = TEXT_MAX + 16 };

/** `data` is NULL with `err` set when there is none. */
typedef struct {
    char *data;
    size_t length;
    int err;
} Text;

typedef struct {
    char *key, **paths, *procs;
    uint32_t count, texts;
    bool wants_links;
    int link;
    Text *text; // of each path, then of the links and of the processes if asked for
    bool done, final;
    int err;
} Group;

typedef struct {
    pthread_mutex_t lock;
    pthread_cond_t ended;
    Arena arena;
    Group *groups;
    uint32_t count, next, done, refs, workers;
    atomic_uint progress; // texts that were read
    bool over;
} Batch;

typedef struct {
    Job job;
    Batch *batch;
    int64_t stall_ms, deadline_ms;
} GroupsJob;

typedef struct Flight Flight;
struct Flight {
    const char *key;
    Flight *next;
};
static pthread_mutex_t flights_lock = PTHREAD_MUTEX_INITIALIZER;
static Flight *flights;

/** False when a read of that key is on its way already. */
static bool take_off(Flight *mine) {
    bool free_to_go = true;
    pthread_mutex_lock(&flights_lock);
    for (Flight *f = flights; f; f = f->next)
        if (strcmp(f->key, mine->key) == 0) free_to_go = false;
    if (free_to_go) {
        mine->next = flights;
        flights = mine;
    }
    pthread_mutex_unlock(&flights_lock);
    return free_to_go;
}

static void land(const Flight *mine) {
    pthread_mutex_lock(&flights_lock);
    for (Flight **at = &flights; *at; at = &(*at)->next)
        if (*at == mine) {
            *at = mine->next;
            break;
        }
    pthread_mutex_unlock(&flights_lock);
}

static void batch_free(Batch *batch) {
    for (uint32_t i = 0; i < batch->count; i++) {
        Group *group = &batch->groups[i];
        if (group->link >= 0) close(group->link);
        for (uint32_t t = 0; group->text && t < group->texts; t++) free(group->text[t].data);
    }
    pthread_mutex_destroy(&batch->lock);
    pthread_cond_destroy(&batch->ended);
    arena_free(&batch->arena);
    free(batch);
}

static void leave(Batch *batch) {
    bool last = --batch->refs == 0;
    pthread_mutex_unlock(&batch->lock);
    if (last) batch_free(batch);
}

static void keep(Text *text, ssize_t length, const char *data) {
    if (length >= 0 && (text->data = malloc((size_t)length + 1)))
        memcpy(text->data, data, text->length = (size_t)length);
    else
        text->err = length < 0 ? (int)-length : ENOMEM;
}

static void read_group(Group *group, char *data, atomic_uint *progress) {
    Text *text = group->text;
    for (uint32_t i = 0; i < group->count; i++) {
        keep(text++, file_read(group->paths[i], 0, data), data);
        atomic_fetch_add(progress, 1);
    }
    if (group->wants_links) {
        if (group->link >= 0)
            keep(text, links_read(group->link, data, TEXT_MAX, data + TEXT_ROOM, TEXT_MAX), data);
        text++;
        atomic_fetch_add(progress, 1);
    }
    if (group->procs) keep(text, processes_read(group->procs, data, progress), data);
}

static void *work(void *memory) {
    Batch *batch = memory;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); // handlers of the process have no business in here
    char *data = malloc(TEXT_ROOM + TEXT_MAX);
    pthread_mutex_lock(&batch->lock);
    while (data && !batch->over && batch->next < batch->count) {
        Group *group = &batch->groups[batch->next++];
        Flight flight = {.key = group->key};
        if (take_off(&flight)) {
            pthread_mutex_unlock(&batch->lock);
            read_group(group, data, &batch->progress);
            land(&flight);
            pthread_mutex_lock(&batch->lock);
        } else
            group->err = EBUSY;
        group->done = true;
        if (++batch->done == batch->count) pthread_cond_signal(&batch->ended);
    }
    batch->workers--;
    leave(batch);
    free(data);
    return NULL;
}

/** With the lock held. False with errno. */
static bool add_worker(Batch *batch) {
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    batch->refs++;
    batch->workers++;
    int rc = pthread_create(&thread, &attr, work, batch);
    pthread_attr_destroy(&attr);
    if (rc == 0) return true;
    batch->refs--;
    batch->workers--;
    errno = rc;
    return false;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/** With the lock held: until the batch has ended, or `ms` have passed. */
static void wait_for(Batch *batch, int64_t ms) {
    int64_t until = now_ms() + ms;
    struct timespec at = {.tv_sec = until / 1000, .tv_nsec = until % 1000 * 1000000};
    pthread_cond_timedwait(&batch->ended, &batch->lock, &at);
}

static bool run_groups(Job *memory) {
    GroupsJob *job = (GroupsJob *)memory;
    Batch *batch = job->batch;
    pthread_mutex_lock(&batch->lock);
    bool started = batch->count == 0 || add_worker(batch);
    int err = errno;
    unsigned seen = 0;
    for (int64_t moved = now_ms(); started && batch->done < batch->count;) {
        wait_for(batch, job->stall_ms);
        unsigned progress = atomic_load(&batch->progress);
        if (progress != seen) {
            seen = progress;
            moved = now_ms();
        } else if (now_ms() - moved >= job->deadline_ms)
            break;
        else if ((batch->next < batch->count && batch->workers < WORKERS_MAX) || batch->workers == 0)
            add_worker(batch);
    }
    batch->over = true;
    for (uint32_t i = 0; i < batch->count; i++) batch->groups[i].final = batch->groups[i].done;
    if (!started) {
        leave(batch); // groups_result, which does otherwise, is not called
        return fail_code(&memory->fail, err, "pthread_create", NULL);
    }
    pthread_mutex_unlock(&batch->lock);
    return true;
}

static napi_value texts_of(napi_env env, const Group *group) {
    napi_value array = NULL, value;
    if (!group->final || group->err) return fail_refusal(env, group->final ? group->err : ETIMEDOUT);
    if (napi_create_array_with_length(env, group->texts, &array) != napi_ok) return NULL;
    for (uint32_t i = 0; i < group->texts; i++) {
        const Text *text = &group->text[i];
        if (!text->data)
            value = fail_refusal(env, text->err);
        else if (napi_create_string_latin1(env, text->data, text->length, &value) != napi_ok)
            return NULL;
        napi_set_element(env, array, i, value);
    }
    return array;
}

static napi_value groups_result(napi_env env, Job *memory) {
    Batch *batch = ((GroupsJob *)memory)->batch;
    napi_value array = NULL;
    if (napi_create_array_with_length(env, batch->count, &array) != napi_ok) array = NULL;
    for (uint32_t i = 0; array && i < batch->count; i++) {
        napi_handle_scope scope;
        if (napi_open_handle_scope(env, &scope) != napi_ok) break;
        napi_set_element(env, array, i, texts_of(env, &batch->groups[i]));
        napi_close_handle_scope(env, scope);
    }
    pthread_mutex_lock(&batch->lock);
    leave(batch);
    return array;
}

static void read_group_argument(Args *args, napi_value object, Group *group) {
    napi_value link = args_member(args, object, "link");
    group->key = args_string(args, args_member(args, object, "key"), "key");
    group->paths = args_strings(args, args_member(args, object, "paths"), "paths", true, &group->count);
    group->procs = args_opt_path(args, object, "procs");
    group->wants_links = link != NULL;
    group->texts = group->count + (link != NULL) + (group->procs != NULL);
    int fd = link ? (int)args_int(args, link, "link", 0, INT_MAX) : -1;
    if (args->failed) return;
    group->text = arena_alloc(args->arena, (group->texts + 1) * sizeof *group->text);
    if (!group->text) return args_fail(args, "memory", "available");
    // A descriptor of our own: the caller may close its one while the read is on its way.
    if (link && (group->link = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0) group->text[group->count].err = errno;
}

MEMBER(gt_read_groups) {
    Args args;
    pthread_condattr_t monotonic;
    GroupsJob *job = job_new(&args, env, info, "readGroups", sizeof *job);
    Batch *batch = job ? calloc(1, sizeof *batch) : NULL;
    if (!job) return NULL;
    if (!batch) {
        args_fail(&args, "memory", "available");
        return job_queue(&args, job, run_groups);
    }
    pthread_mutex_init(&batch->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&batch->ended, &monotonic);
    pthread_condattr_destroy(&monotonic);
    batch->refs = 1;
    args.arena = &batch->arena;
    uint32_t count = args_length(&args, args.v[0], "groups", GROUPS_MAX);
    job->stall_ms = args_int(&args, args_member(&args, args.v[1], "stallMs"), "stallMs", 1, 60000);
    job->deadline_ms = args_int(&args, args_member(&args, args.v[1], "deadlineMs"), "deadlineMs", 1, 60000);
    batch->groups = args.failed ? NULL : arena_alloc(&batch->arena, (count + 1) * sizeof *batch->groups);
    if (!args.failed && !batch->groups) args_fail(&args, "memory", "available");
    for (uint32_t i = 0; !args.failed && i < count; i++) {
        napi_handle_scope scope;
        if (napi_open_handle_scope(env, &scope) != napi_ok) break;
        batch->groups[i].link = -1;
        batch->count = i + 1;
        read_group_argument(&args, args_item(&args, args.v[0], i), &batch->groups[i]);
        napi_close_handle_scope(env, scope);
    }
    job->batch = batch;
    job->job.result = groups_result;
    if (args.failed) batch_free(batch);
    return job_queue(&args, job, run_groups);
}
