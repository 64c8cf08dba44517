// SPDX-License-Identifier: Apache-2.0
/** Errors that look like those of node:fs: `ENOENT: no such file or directory, mount '/x'` with its
 * properties. */
#include "addon.h"

#include <stdio.h>
#include <string.h>

bool fail_code(Fail *fail, int err, const char *call, const char *path) {
    if (fail->err) return false;
    fail->err = err ? err : EIO;
    fail->call = call;
    snprintf(fail->path, sizeof fail->path, "%s", path ? path : "");
    return false;
}

bool fail_set(Fail *fail, const char *call, const char *path) { return fail_code(fail, errno, call, path); }

/** `EBUSY` and the like as node names it; buffer of at least 32 bytes. */
static const char *fail_name(int err, char *buffer, size_t size) {
    uv_err_name_r(-err, buffer, size);
    // libuv knows about eighty numbers; glibc knows them all but names a few otherwise (EOPNOTSUPP for
    // ENOTSUP).
    if (strncmp(buffer, "Unknown", 7) == 0) {
        const char *name = strerrorname_np(err);
        snprintf(buffer, size, "%s", name ? name : "EUNKNOWN");
    }
    return buffer;
}

static void describe(int err, char *buffer, size_t size) {
    char other[128];
    uv_strerror_r(-err, buffer, size);
    if (strncmp(buffer, "Unknown", 7) == 0)
        snprintf(buffer, size, "%s", strerror_r(err, other, sizeof other));
}

static void set_string(napi_env env, napi_value object, const char *name, const char *text) {
    napi_value value;
    if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok)
        napi_set_named_property(env, object, name, value);
}

napi_value fail_error(napi_env env, const Fail *fail) {
    char code[32], text[128], message[sizeof fail->path + sizeof fail->note + 256];
    napi_value msg = NULL, error = NULL, number;
    fail_name(fail->err, code, sizeof code);
    describe(fail->err, text, sizeof text);
    snprintf(message, sizeof message, "%s: %s, %s%s%s%s%s%s%s", code, text, fail->call,
             *fail->path ? " '" : "", fail->path, *fail->path ? "'" : "", *fail->note ? " (" : "", fail->note,
             *fail->note ? ")" : "");
    if (napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &msg) != napi_ok ||
        napi_create_error(env, NULL, msg, &error) != napi_ok)
        return NULL;
    set_string(env, error, "code", code);
    set_string(env, error, "syscall", fail->call);
    if (*fail->path) set_string(env, error, "path", fail->path);
    if (napi_create_int32(env, -fail->err, &number) == napi_ok)
        napi_set_named_property(env, error, "errno", number);
    return error;
}

napi_value fail_refusal(napi_env env, int err) {
    char name[32];
    napi_value object = NULL;
    if (napi_create_object(env, &object) != napi_ok) return NULL;
    set_string(env, object, "code", fail_name(err, name, sizeof name));
    return object;
}

napi_value fail_throw(napi_env env, const Fail *fail) {
    napi_value error = fail_error(env, fail);
    if (error) napi_throw(env, error);
    return NULL;
}

napi_value throw_errno(napi_env env, const char *call, const char *path) {
    Fail fail = {0};
    fail_set(&fail, call, path);
    return fail_throw(env, &fail);
}
