// SPDX-License-Identifier: Apache-2.0
/**
 * Files of a tree somebody else filled (an image): every look-up is resolved by the kernel inside the root
 * (RESOLVE_IN_ROOT), absolute links and `..` included, magic links refused. Only regular files are opened for
 * reading: the type is known before, from an O_PATH descriptor, so that no device or FIFO is ever touched.
 */
#include "addon.h"
#include "kernel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { RACES_MAX = 64 };

static int open_in(int root, const char *path, uint64_t flags) {
    struct k_open_how how = {.flags = flags | O_CLOEXEC,
                             .resolve = K_RESOLVE_IN_ROOT | K_RESOLVE_NO_MAGICLINKS};
    int fd = -1;
    // EAGAIN: something was renamed during the walk and the kernel could not prove that it stayed inside.
    for (int i = 0; i < RACES_MAX; i++) {
        fd = k_openat2(root, path, &how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) break;
    }
    return fd;
}

static int open_root(const char *root, Fail *fail) {
    int fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) fail_set(fail, "open", root);
    return fd;
}

/** Opens for reading what an O_PATH descriptor stands for. */
static int reopen(int fd) {
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
}

static bool read_up_to(int fd, char *data, size_t size, size_t *length, Fail *fail, const char *path) {
    *length = 0;
    while (*length < size) {
        ssize_t n = read(fd, data + *length, size - *length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail_set(fail, "read", path);
        if (n == 0) break;
        *length += (size_t)n;
    }
    return true;
}

typedef struct {
    char *data;
    size_t length;
} Content;

static bool read_regular(int fd, const char *path, size_t max, Content *content, Fail *fail) {
    struct stat st;
    if (fstat(fd, &st) < 0) return fail_set(fail, "fstat", path);
    if (S_ISDIR(st.st_mode)) return fail_code(fail, EISDIR, "read", path);
    if (!S_ISREG(st.st_mode)) return fail_code(fail, EINVAL, "read", path);
    if ((uint64_t)st.st_size > max) return fail_code(fail, EFBIG, "read", path);
    int file CLOSES = reopen(fd);
    if (file < 0) return fail_set(fail, "open", path);
    // One byte more than the size tells a file that grew; st_size may lie (it is 0 in /proc).
    size_t room = st.st_size > 0 ? (size_t)st.st_size + 1 : max + 1;
    if (room > max + 1) room = max + 1;
    content->data = malloc(room);
    if (!content->data) return fail_code(fail, ENOMEM, "read", path);
    if (!read_up_to(file, content->data, room, &content->length, fail, path)) return false;
    return content->length <= max || fail_code(fail, EFBIG, "read", path);
}

static bool read_in_root(const char *root, const char *path, size_t max, Content *content, Fail *fail) {
    int dir CLOSES = open_root(root, fail);
    if (dir < 0) return false;
    int fd CLOSES = open_in(dir, path, O_PATH);
    if (fd < 0) return fail_set(fail, "openat2", path);
    return read_regular(fd, path, max, content, fail);
}

MEMBER(gt_read_in_root) {
    Arena arena = {0};
    Args args;
    Fail fail = {0};
    Content content = {0};
    napi_value result = NULL;
    args_begin(&args, env, info, "readInRoot", &arena);
    char *root = args_path(&args, args.v[0], "root");
    char *path = args_string(&args, args.v[1], "path");
    int64_t max = args_int(&args, args.v[2], "maxBytes", 0, 1 << 30);
    if (!args.failed) {
        if (!read_in_root(root, path, (size_t)max, &content, &fail))
            fail_throw(env, &fail);
        else
            napi_create_buffer_copy(env, content.length, content.data, NULL, &result);
    }
    free(content.data);
    arena_free(&arena);
    return result;
}

/** mkdirat and the exact mode: the process's umask is not the caller's business. */
static bool make_one(int parent, const char *name, mode_t mode, const char *path, Fail *fail) {
    if (mkdirat(parent, name, mode) < 0) return errno == EEXIST || fail_set(fail, "mkdirat", path);
    int fd CLOSES = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return fail_set(fail, "openat", path);
    return fchmod(fd, mode) == 0 || fail_set(fail, "fchmod", path);
}

/**
 * Walks prefix by prefix: each is looked up from the root (so links inside are honoured, links out of it are
 * not) and made in its parent's descriptor where it is missing.
 */
static bool mkdir_in_root(const char *root, char *path, mode_t mode, Fail *fail) {
    int dir CLOSES = open_root(root, fail);
    if (dir < 0) return false;
    int parent CLOSES = fcntl(dir, F_DUPFD_CLOEXEC, 3);
    if (parent < 0) return fail_set(fail, "dup", root);
    char *at = path;
    while (*(at += strspn(at, "/"))) {
        char *name = at, kept = *(at += strcspn(at, "/"));
        *at = 0;
        int fd = open_in(dir, path, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT) {
            if (!make_one(parent, name, mode, path, fail)) return false;
            fd = open_in(dir, path, O_PATH | O_DIRECTORY);
        }
        if (fd < 0) return fail_set(fail, "openat2", path);
        close(parent);
        parent = fd;
        *at = kept;
    }
    return true;
}

MEMBER(gt_mkdir_in_root) {
    Arena arena = {0};
    Args args;
    Fail fail = {0};
    args_begin(&args, env, info, "mkdirInRoot", &arena);
    char *root = args_path(&args, args.v[0], "root");
    char *path = args_string(&args, args.v[1], "path");
    mode_t mode = (mode_t)args_int(&args, args.v[2], "mode", 0, 07777);
    if (!args.failed && strlen(path) >= PATH_MAX) args_fail(&args, "path", "shorter than 4096 bytes");
    if (!args.failed && !mkdir_in_root(root, path, mode, &fail)) fail_throw(env, &fail);
    arena_free(&arena);
    return NULL;
}
