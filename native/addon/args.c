// SPDX-License-Identifier: Apache-2.0
/**
 * Checks and copies arguments. Everything that comes from JavaScript goes through here; a wrong one is a
 * TypeError that names the member. Strings are copied into the call's arena, so jobs may use them on other
 * threads.
 */
#include "addon.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void args_begin(Args *args, napi_env env, napi_callback_info info, const char *fn, Arena *arena) {
    size_t count = ARGS_MAX;
    *args = (Args){.env = env, .fn = fn, .arena = arena};
    if (napi_get_cb_info(env, info, &count, args->v, NULL, NULL) != napi_ok)
        args_fail(args, "this", "callable");
}

void args_fail(Args *args, const char *name, const char *want) {
    char message[256];
    if (args->failed) return;
    args->failed = true;
    snprintf(message, sizeof message, "%s: %s must be %s", args->fn, name, want);
    napi_throw_type_error(args->env, "ERR_INVALID_ARG_TYPE", message);
}

static napi_valuetype type_of(Args *args, napi_value value) {
    napi_valuetype type = napi_undefined;
    if (value) napi_typeof(args->env, value, &type);
    return type;
}

static void *take(Args *args, size_t size) {
    void *memory = arena_alloc(args->arena, size);
    if (!memory) args_fail(args, "memory", "available");
    return memory;
}

napi_value args_member(Args *args, napi_value object, const char *name) {
    napi_value value = NULL;
    if (args->failed) return NULL;
    if (type_of(args, object) != napi_object) {
        args_fail(args, "options", "an object");
        return NULL;
    }
    if (napi_get_named_property(args->env, object, name, &value) != napi_ok) {
        args->failed = true; // a getter threw: its exception is the pending one
        return NULL;
    }
    return type_of(args, value) == napi_undefined ? NULL : value;
}

char *args_string(Args *args, napi_value value, const char *name) {
    size_t length = 0;
    if (args->failed) return NULL;
    if (type_of(args, value) != napi_string ||
        napi_get_value_string_utf8(args->env, value, NULL, 0, &length) != napi_ok) {
        args_fail(args, name, "a string");
        return NULL;
    }
    char *text = take(args, length + 1);
    if (!text) return NULL;
    napi_get_value_string_utf8(args->env, value, text, length + 1, &length);
    if (strlen(text) != length) {
        args_fail(args, name, "a string without NUL");
        return NULL;
    }
    return text;
}

char *args_path(Args *args, napi_value value, const char *name) {
    char *path = args_string(args, value, name);
    if (!path) return NULL;
    size_t length = strlen(path);
    if (path[0] != '/' || length >= PATH_MAX) {
        args_fail(args, name, "an absolute path of less than 4096 bytes");
        return NULL;
    }
    while (length > 1 && path[length - 1] == '/') path[--length] = 0;
    return path;
}

char *args_opt_string(Args *args, napi_value object, const char *name) {
    napi_value value = args_member(args, object, name);
    return value ? args_string(args, value, name) : NULL;
}

char *args_opt_path(Args *args, napi_value object, const char *name) {
    napi_value value = args_member(args, object, name);
    return value ? args_path(args, value, name) : NULL;
}

bool args_bool(Args *args, napi_value value, const char *name) {
    bool flag = false;
    if (args->failed) return false;
    if (type_of(args, value) != napi_boolean || napi_get_value_bool(args->env, value, &flag) != napi_ok)
        args_fail(args, name, "a boolean");
    return flag;
}

bool args_flag(Args *args, napi_value object, const char *name) {
    napi_value value = args_member(args, object, name);
    return value ? args_bool(args, value, name) : false;
}

int64_t args_int(Args *args, napi_value value, const char *name, int64_t min, int64_t max) {
    double number = 0;
    char want[80];
    if (args->failed) return 0;
    if (type_of(args, value) == napi_number && napi_get_value_double(args->env, value, &number) == napi_ok &&
        number == floor(number) && number >= (double)min && number <= (double)max)
        return (int64_t)number;
    snprintf(want, sizeof want, "an integer from %lld to %lld", (long long)min, (long long)max);
    args_fail(args, name, want);
    return 0;
}

uint32_t args_length(Args *args, napi_value value, const char *name, uint32_t max) {
    bool array = false;
    uint32_t length = 0;
    char want[80];
    if (args->failed) return 0;
    if (value && napi_is_array(args->env, value, &array) == napi_ok && array &&
        napi_get_array_length(args->env, value, &length) == napi_ok && length <= max)
        return length;
    snprintf(want, sizeof want, "an array of at most %u", max);
    args_fail(args, name, want);
    return 0;
}

napi_value args_item(Args *args, napi_value array, uint32_t index) {
    napi_value value = NULL;
    if (args->failed) return NULL;
    if (napi_get_element(args->env, array, index, &value) != napi_ok) {
        args->failed = true;
        return NULL;
    }
    return value;
}

char **args_strings(Args *args, napi_value value, const char *name, bool paths, uint32_t *count) {
    uint32_t length = args_length(args, value, name, 1u << 16);
    if (args->failed) return NULL;
    char **list = take(args, (length + 1) * sizeof *list);
    for (uint32_t i = 0; list && i < length; i++) {
        napi_value item = args_item(args, value, i);
        list[i] = paths ? args_path(args, item, name) : args_string(args, item, name);
        if (args->failed) return NULL;
    }
    *count = length;
    return list;
}

int *args_fds(Args *args, napi_value value, const char *name, int min, uint32_t *count) {
    uint32_t length = args_length(args, value, name, 253);
    if (args->failed) return NULL;
    int *list = take(args, (length + 1) * sizeof *list);
    for (uint32_t i = 0; list && i < length; i++) {
        list[i] = (int)args_int(args, args_item(args, value, i), name, min, INT_MAX);
        if (args->failed) return NULL;
    }
    *count = length;
    return list;
}

void *args_buffer(Args *args, napi_value value, const char *name, size_t *length) {
    bool buffer = false;
    void *data = NULL;
    if (args->failed) return NULL;
    if (!value || napi_is_buffer(args->env, value, &buffer) != napi_ok || !buffer ||
        napi_get_buffer_info(args->env, value, &data, length) != napi_ok)
        args_fail(args, name, "a Buffer");
    return data;
}
