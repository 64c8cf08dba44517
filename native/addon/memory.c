// SPDX-License-Identifier: Apache-2.0
/**
 * Gives memory of this idle process back: free heap pages, and the node binary's code pages, which are clean
 * and come back from the page cache when they are next executed. Only `r-xp` of the binary itself is dropped:
 * the read-only data of other mappings holds relocated pages, which would come back without their
 * relocations.
 */
#include "addon.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void drop_if_text(const char *line, const char *exe) {
    unsigned long start, end;
    char permissions[5];
    int path = 0;
    if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %n", &start, &end, permissions, &path) != 3 || path == 0)
        return;
    if (strcmp(permissions, "r-xp") != 0 || strcmp(line + path, exe) != 0) return;
    madvise((void *)start, end - start, MADV_DONTNEED);
}

MEMBER(gt_trim_memory) {
    char exe[PATH_MAX], *line = NULL;
    size_t room = 0;
    malloc_trim(0);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    FILE *maps = n > 0 ? fopen("/proc/self/maps", "re") : NULL;
    if (!maps) return NULL;
    exe[n] = 0;
    while ((n = getline(&line, &room, maps)) > 0) {
        if (line[n - 1] == '\n') line[n - 1] = 0;
        drop_if_text(line, exe);
    }
    free(line);
    fclose(maps);
    return NULL;
}
