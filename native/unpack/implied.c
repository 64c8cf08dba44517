// SPDX-License-Identifier: Apache-2.0
/*
 * Directories that the archive uses but has not described: their owner and mode are whatever a lower layer
 * says, which this program does not see. The caller gets the list. An entry that comes later takes its
 * directory off.
 */
#include "unpack.h"

#include <stdlib.h>
#include <string.h>

int implied_add(struct tree *t, uint64_t inode, const char *path) {
    size_t n = strlen(path) + 1;
    t->implied_count++;
    if (t->implied_named == MAX_IMPLIED || t->implied_bytes + n > MAX_IMPLIED_BYTES) {
        warn_once("more directories without an entry than the result names");
        return 0;
    }
    char *copy = strdup(path);
    if (!copy) return fail_errno(STAGE_WRITE, path, "note a missing directory");
    t->implied[t->implied_named].inode = inode;
    t->implied[t->implied_named++].path = copy;
    t->implied_bytes += n;
    return 0;
}

bool implied_forget(struct tree *t, uint64_t inode) {
    for (size_t i = 0; i < t->implied_named; i++) {
        if (t->implied[i].inode != inode) continue;
        t->implied_bytes -= strlen(t->implied[i].path) + 1;
        t->implied_count--;
        free(t->implied[i].path);
        t->implied_named--; /* the order stays: parents before children */
        memmove(&t->implied[i], &t->implied[i + 1], (t->implied_named - i) * sizeof t->implied[0]);
        return true;
    }
    return false;
}
