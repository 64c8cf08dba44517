// SPDX-License-Identifier: Apache-2.0
/**
 * Watches of pidfds on the event loop, and the environment that owns them. A watch owns its descriptor and
 * closes itself once it was readable. When the environment ends (exit or the end of a worker) all are closed
 * through an asynchronous cleanup hook, for which Node turns the loop until the handles are gone.
 */
#include "addon.h"

#include <stdlib.h>
#include <unistd.h>

EnvData *env_data(napi_env env) {
    void *data = NULL;
    napi_get_instance_data(env, &data);
    return data;
}

static void env_end(EnvData *data) {
    napi_remove_async_cleanup_hook(data->hook);
    free(data);
}

static void forget(Watch *watch) {
    if (watch->prev)
        watch->prev->next = watch->next;
    else
        watch->data->active = watch->next;
    if (watch->next) watch->next->prev = watch->prev;
}

static void on_closed(uv_handle_t *handle) {
    Watch *watch = handle->data;
    EnvData *data = watch->data;
    close(watch->fd);
    free(watch);
    if (--data->open == 0 && data->closing) env_end(data);
}

static void begin_close(Watch *watch) {
    forget(watch);
    uv_close((uv_handle_t *)&watch->poll, on_closed);
}

static void release(Watch *watch) {
    if (watch->callback) napi_delete_reference(watch->data->env, watch->callback);
    if (watch->context) napi_async_destroy(watch->data->env, watch->context);
    watch->callback = NULL;
    watch->context = NULL;
}

static void on_env_cleanup(napi_async_cleanup_hook_handle hook, void *memory) {
    EnvData *data = memory;
    data->closing = true;
    while (data->active) {
        Watch *watch = data->active;
        release(watch);
        begin_close(watch);
    }
    if (data->open == 0) env_end(data);
}

bool env_begin(napi_env env) {
    EnvData *data = calloc(1, sizeof *data);
    if (!data) return false;
    data->env = env;
    if (napi_get_uv_event_loop(env, &data->loop) == napi_ok &&
        napi_set_instance_data(env, data, NULL, NULL) == napi_ok &&
        napi_add_async_cleanup_hook(env, on_env_cleanup, data, &data->hook) == napi_ok)
        return true;
    free(data);
    return false;
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    Watch *watch = poll->data;
    napi_env env = watch->data->env;
    napi_handle_scope handles;
    napi_callback_scope calls;
    napi_value resource, error;
    if (!watch->ready(watch)) return;
    begin_close(watch); // first: whatever the callback does, this handle is done
    if (napi_open_handle_scope(env, &handles) != napi_ok) return;
    if (napi_create_object(env, &resource) == napi_ok &&
        napi_open_callback_scope(env, resource, watch->context, &calls) == napi_ok) {
        watch->deliver(watch);
        // An exception of the callback is the program's uncaught exception, as with any other event.
        bool pending = false;
        if (napi_is_exception_pending(env, &pending) == napi_ok && pending &&
            napi_get_and_clear_last_exception(env, &error) == napi_ok)
            napi_fatal_exception(env, error);
        napi_close_callback_scope(env, calls);
    }
    release(watch);
    napi_close_handle_scope(env, handles);
}

Watch *watch_new(EnvData *data, const char *name) {
    napi_value text;
    Watch *watch = data->closing ? NULL : calloc(1, sizeof *watch);
    if (!watch) {
        errno = data->closing ? ECANCELED : ENOMEM;
        return NULL;
    }
    watch->data = data;
    watch->fd = -1;
    if (napi_create_string_utf8(data->env, name, NAPI_AUTO_LENGTH, &text) != napi_ok ||
        napi_async_init(data->env, NULL, text, &watch->context) != napi_ok) {
        watch_free(watch);
        errno = ENOMEM;
        return NULL;
    }
    return watch;
}

void watch_free(Watch *watch) {
    release(watch);
    free(watch);
}

int watch_start(Watch *watch, int fd) {
    EnvData *data = watch->data;
    int rc = uv_poll_init(data->loop, &watch->poll, fd);
    if (rc < 0) {
        watch_free(watch);
        return rc;
    }
    watch->fd = fd;
    watch->poll.data = watch;
    watch->next = data->active;
    if (data->active) data->active->prev = watch;
    data->active = watch;
    data->open++;
    // Cannot fail on a descriptor that uv_poll_init accepted; were it to, the watch would never fire.
    uv_poll_start(&watch->poll, UV_READABLE, on_poll);
    return 0;
}
