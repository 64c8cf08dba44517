// SPDX-License-Identifier: Apache-2.0
/**
 * Promises settled by work on the thread pool. A job owns its arguments; it is freed in the completion, which
 * Node calls also when the environment goes down.
 */
#include "addon.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

static void job_free(Job *job) {
    arena_free(&job->arena);
    free(job);
}

void *job_new(Args *args, napi_env env, napi_callback_info info, const char *fn, size_t size) {
    Job *job = calloc(1, size);
    if (!job) {
        napi_throw_error(env, "ENOMEM", "ENOMEM: not enough memory");
        return NULL;
    }
    args_begin(args, env, info, fn, &job->arena);
    return job;
}

static void execute(napi_env env, void *data) {
    Job *job = data;
    if (!job->run(job)) fail_code(&job->fail, EIO, "job", NULL);
}

static void complete(napi_env env, napi_status status, void *data) {
    Job *job = data;
    napi_value value = NULL;
    if (status != napi_ok) fail_code(&job->fail, ECANCELED, "job", NULL);
    if (job->fail.err) {
        value = fail_error(env, &job->fail);
        if (value) napi_reject_deferred(env, job->deferred, value);
    } else {
        if (job->result) value = job->result(env, job);
        if (!value) napi_get_undefined(env, &value);
        if (value) napi_resolve_deferred(env, job->deferred, value);
    }
    napi_delete_async_work(env, job->work);
    job_free(job);
}

/** A wrong argument rejects like any other failure: callers of a promise have one place to look. */
static napi_value rejected(napi_env env) {
    napi_value promise = NULL, error;
    napi_deferred deferred;
    if (napi_get_and_clear_last_exception(env, &error) != napi_ok ||
        napi_create_promise(env, &deferred, &promise) != napi_ok)
        return NULL;
    napi_reject_deferred(env, deferred, error);
    return promise;
}

napi_value job_queue(Args *args, void *memory, bool (*run)(Job *job)) {
    Job *job = memory;
    napi_env env = args->env;
    napi_value promise = NULL, name;
    if (args->failed) {
        job_free(job);
        return rejected(env);
    }
    job->run = run;
    if (napi_create_string_utf8(env, args->fn, NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_async_work(env, NULL, name, execute, complete, job, &job->work) != napi_ok) {
        job_free(job);
        napi_throw_error(env, NULL, "the work cannot be created");
        return NULL;
    }
    if (napi_create_promise(env, &job->deferred, &promise) != napi_ok ||
        napi_queue_async_work(env, job->work) != napi_ok) {
        napi_delete_async_work(env, job->work);
        job_free(job);
        napi_throw_error(env, NULL, "the work cannot be queued");
        return NULL;
    }
    return promise;
}

typedef struct {
    Job *job;
    void *(*inside)(void *job);
} OnThread;

static void *on_thread(void *memory) {
    OnThread *what = memory;
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); // handlers of the process have no business in here
    return what->inside(what->job);
}

bool job_on_thread(Job *job, void *(*inside)(void *job)) {
    OnThread what = {job, inside};
    pthread_t thread;
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 256 << 10);
    int rc = pthread_create(&thread, &attr, on_thread, &what);
    pthread_attr_destroy(&attr);
    if (rc != 0) return fail_code(&job->fail, rc, "pthread_create", NULL);
    pthread_join(thread, NULL);
    return job->fail.err == 0;
}
