// SPDX-License-Identifier: Apache-2.0
/**
 * The extended attribute by which overlayfs knows a folder that hides all that is below it. The path is
 * bytes: names that a container makes need not be UTF-8.
 */
#include "addon.h"

#include <string.h>
#include <sys/xattr.h>

napi_value gt_is_opaque(napi_env env, napi_callback_info info) {
    Args args;
    args_begin(&args, env, info, "isOpaque", NULL);
    size_t length = 0;
    const char *bytes = args_buffer(&args, args.v[0], "path", &length);
    if (!args.failed && (length == 0 || length >= PATH_MAX || memchr(bytes, 0, length)))
        args_fail(&args, "path", "a path");
    if (args.failed) return NULL;
    char path[PATH_MAX];
    memcpy(path, bytes, length);
    path[length] = 0;
    char value = 0;
    bool opaque = lgetxattr(path, "trusted.overlay.opaque", &value, 1) == 1 && value == 'y';
    napi_value result;
    return napi_get_boolean(env, opaque, &result) == napi_ok ? result : NULL;
}
