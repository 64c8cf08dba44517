// SPDX-License-Identifier: Apache-2.0
/** Small files of the kernel (cgroup, proc, sysctl) in one call, and the size of a file system. Nothing is
 * cached. */
#include "addon.h"
#include "kernel.h"
#include "reading.h"

#include <string.h>
#include <sys/vfs.h>

static bool read_each(napi_env env, char **paths, uint32_t count, char *data, napi_value array) {
    for (uint32_t i = 0; i < count; i++) {
        napi_handle_scope scope;
        napi_value item = NULL;
        if (napi_open_handle_scope(env, &scope) != napi_ok) return false;
        ssize_t n = file_read(paths[i], O_NONBLOCK, data);
        if (n < 0)
            item = fail_refusal(env, (int)-n);
        else
            napi_create_buffer_copy(env, (size_t)n, data, NULL, &item);
        bool done = item && napi_set_element(env, array, i, item) == napi_ok;
        napi_close_handle_scope(env, scope);
        if (!done) return false;
    }
    return true;
}

MEMBER(gt_read_many) {
    Arena arena = {0};
    Args args;
    uint32_t count = 0;
    napi_value array = NULL;
    args_begin(&args, env, info, "readMany", &arena);
    char **paths = args_strings(&args, args.v[0], "paths", true, &count);
    char *data = args.failed ? NULL : arena_alloc(&arena, TEXT_MAX + 1);
    if (!args.failed && !data) args_fail(&args, "memory", "available");
    if (!args.failed && (napi_create_array_with_length(env, count, &array) != napi_ok ||
                         !read_each(env, paths, count, data, array)))
        array = NULL;
    arena_free(&arena);
    return array;
}

static bool write_once(const char *path, const char *text, Fail *fail) {
    size_t length = strlen(text);
    ssize_t n;
    int fd CLOSES = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) return fail_set(fail, "open", path);
    do n = write(fd, text, length);
    while (n < 0 && errno == EINTR);
    if (n < 0) return fail_set(fail, "write", path);
    return (size_t)n == length || fail_code(fail, EIO, "write", path);
}

MEMBER(gt_write_file) {
    Arena arena = {0};
    Args args;
    Fail fail = {0};
    args_begin(&args, env, info, "writeFile", &arena);
    char *path = args_path(&args, args.v[0], "path");
    char *text = args_string(&args, args.v[1], "text");
    if (!args.failed && !write_once(path, text, &fail)) fail_throw(env, &fail);
    arena_free(&arena);
    return NULL;
}

static void set_big(napi_env env, napi_value object, const char *name, uint64_t number) {
    napi_value value;
    if (napi_create_bigint_uint64(env, number, &value) == napi_ok)
        napi_set_named_property(env, object, name, value);
}

MEMBER(gt_statfs) {
    Arena arena = {0};
    Args args;
    struct statfs fs;
    napi_value object = NULL, type;
    args_begin(&args, env, info, "statfs", &arena);
    char *path = args_path(&args, args.v[0], "path");
    if (args.failed) goto out;
    if (statfs(path, &fs) < 0) {
        throw_errno(env, "statfs", path);
        goto out;
    }
    if (napi_create_object(env, &object) != napi_ok) goto out;
    uint64_t unit = (uint64_t)(fs.f_frsize ? fs.f_frsize : fs.f_bsize);
    if (napi_create_double(env, (double)(uint32_t)fs.f_type, &type) == napi_ok)
        napi_set_named_property(env, object, "type", type);
    set_big(env, object, "totalBytes", fs.f_blocks * unit);
    set_big(env, object, "freeBytes", fs.f_bavail * unit);
    set_big(env, object, "totalInodes", fs.f_files);
    set_big(env, object, "freeInodes", fs.f_ffree);
out:
    arena_free(&arena);
    return object;
}
