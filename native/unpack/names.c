// SPDX-License-Identifier: Apache-2.0
/*
 * Names of entries and hard link targets: relative to the layer whatever they start with, without empty and
 * dot components. A ".." is refused, not resolved: no tool that builds layers writes one, and what it would
 * mean through symbolic links differs between extractors.
 */
#include "unpack.h"

#include <string.h>

int name_clean(const char *raw, size_t n, char out[MAX_PATH], const char *what) {
    size_t length = 0;
    char shown[MAX_PATH];
    size_t keep = n < sizeof shown ? n : sizeof shown - 1;
    if (keep) memcpy(shown, raw, keep);
    shown[keep] = 0;
    if (n && memchr(raw, 0, n)) return fail(KIND_CORRUPT, STAGE_TAR, shown, "%s holds a NUL byte", what);
    for (size_t at = 0; at < n;) {
        const char *slash = memchr(raw + at, '/', n - at);
        size_t end = slash ? (size_t)(slash - raw) : n, part = end - at;
        if (part == 2 && raw[at] == '.' && raw[at + 1] == '.')
            return fail(KIND_CORRUPT, STAGE_TAR, shown, "%s has a '..' component: refused", what);
        if (part > MAX_COMPONENT)
            return fail(KIND_CORRUPT, STAGE_TAR, shown, "%s has a component longer than %u bytes", what,
                        MAX_COMPONENT);
        if (part && !(part == 1 && raw[at] == '.')) {
            if (length + (length ? 1 : 0) + part >= MAX_PATH)
                return fail(KIND_CORRUPT, STAGE_TAR, shown, "%s is longer than %u bytes", what, MAX_PATH - 1);
            if (length) out[length++] = '/';
            memcpy(out + length, raw + at, part);
            length += part;
        }
        at = end + 1;
    }
    out[length] = 0;
    return 0;
}
